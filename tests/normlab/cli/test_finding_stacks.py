"""Commands find the running stack wherever its data is, and never a stopped one."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from normlab.cli.application import run
from normlab.errors import InvalidSpec, ServiceUnavailable
from normlab.stacks import addresses
from normlab.stacks.addresses import Address, data_dir_of, resolve
from normlab.stacks.connection import Connection
from normlab.stacks.running import register_stack, running_stacks
from normlab.trained import datasets_here
from tests.normlab.cli.stacks import running

ANY = Address(None, None)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate user without a running stack."""
    for name in ("NORMLAB_URL", "NORMLAB_TOKEN", "NORMLAB_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(addresses, "default_data_dir", lambda: tmp_path / "default")
    return tmp_path


def test_the_datasets_are_where_the_stack_says_unless_the_user_says_more(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NORMLAB_DATA_ROOT", raising=False)
    assert datasets_here() == home / "default" / "datasets"
    with running(home / "default", "http://127.0.0.1:7", data_root="/pictures"):
        assert datasets_here() == Path("/pictures")
    monkeypatch.setenv("NORMLAB_DATA_ROOT", "/mine")
    assert datasets_here() == Path("/mine")


def test_a_stack_with_its_data_elsewhere_is_found_automatically(home: Path) -> None:
    register_stack(home / "far")
    with running(home / "far", "http://127.0.0.1:7", "key"):
        assert resolve(ANY) == Connection("http://127.0.0.1:7", "key")
        assert data_dir_of(ANY) == home / "far"
        assert resolve(Address("http://127.0.0.1:7/", None)).token == "key"


def test_a_stack_that_was_killed_misleads_nobody(home: Path) -> None:
    for name in ("far", "default"):
        register_stack(home / name)
        with running(home / name, "http://127.0.0.1:7", "secret"):
            pass
    with pytest.raises(ServiceUnavailable, match="no stack of this user runs"):
        resolve(ANY)
    assert resolve(Address("http://127.0.0.1:7", None)).token is None
    assert list((home / "state").rglob("stacks/*")) == []


def test_with_several_stacks_the_default_one_is_used_or_a_choice_is_required(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register_stack(home / "a")
    register_stack(home / "b")
    with running(home / "a", "http://127.0.0.1:1"), running(home / "b", "http://127.0.0.1:2"):
        assert len(running_stacks()) == 2
        with pytest.raises(InvalidSpec, match=r"a \(http.*b \(http.*--data-dir"):
            resolve(ANY)
        assert resolve(Address(None, None, home / "b")).url == "http://127.0.0.1:2"
        assert run(["ls"]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
        with running(home / "default", "http://127.0.0.1:3"):
            assert resolve(ANY).url == "http://127.0.0.1:3"


def test_stacks_are_listed_by_folder_whatever_their_entries_are_called(home: Path) -> None:
    with ExitStack() as stacks:
        for name in "hgfedcba":
            register_stack(home / name)
            stacks.enter_context(running(home / name, "http://127.0.0.1:1"))
        assert "".join(stack.data_dir.name for stack in running_stacks()) == "abcdefgh"


def test_the_option_names_one_stack_for_every_command(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(home / "default", "http://127.0.0.1:3"):
        assert run(["--data-dir", str(home / "none"), "ls"]) == 3
    assert re.search(r"runs in \S*none", capsys.readouterr().err)
