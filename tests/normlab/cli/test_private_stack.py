"""A whole stack with a finished job: no file of it is accessible to other users of this machine."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Iterator

import pytest

pytest.importorskip("service.up", reason="the server's packages are not installed")

from normlab.client import Client
from normlab.stacks.own import own_stack

JOB = {
    "normalizer": "batch",
    "dataset": {"name": "digits", "train_size": 64, "test_size": 64},
    "epochs": 1,
    "threads": 1,
    "diagnostics": ["power"],
}
SETTINGS = {"NORMLAB_PORT": "0", "OMP_NUM_THREADS": "1"}


def open_to_others(folder: Path) -> Iterator[str]:
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink() and stat.S_IMODE(path.lstat().st_mode) & 0o077:
            yield str(path.relative_to(folder))


@pytest.fixture
def loose_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_the_files_of_a_stack_are_private_and_wider_permissions_are_corrected(
    tmp_path: Path, loose_umask: None
) -> None:
    data = tmp_path / "data"
    (data / "logs").mkdir(parents=True)
    (data / "logs" / "api.log").write_text("of an older version\n")
    with own_stack(data, SETTINGS) as connection:
        assert connection.token
        with Client(connection.url, connection.token) as client:
            ended = client.wait(client.submit(JOB).id, timeout_s=200)
            assert ended.state == "succeeded", ended.error
        # PostgreSQL does not run as root: its own user may traverse the folder, but not list it
        passed = {"."} if os.geteuid() == 0 else set()
        assert set(open_to_others(data)) <= passed
        assert not stat.S_IMODE(data.stat().st_mode) & 0o066
    for log in [data / "stack.log", *(data / "logs").iterdir()]:
        if log.name != "stack.log":  # the output of `up` contains the owner's token
            assert connection.token not in log.read_text(errors="replace")
