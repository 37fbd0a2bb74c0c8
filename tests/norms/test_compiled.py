from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, List

import pytest

from normlab import norms
from normlab.errors import DeviceUnavailable
from normlab.norms import compiled, engine_fused, online_fused


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """The sources that would have been compiled, in a process that has loaded nothing."""
    found: List[Any] = []
    monkeypatch.setattr(compiled, "_loaded", {})
    monkeypatch.setattr(compiled, "_check_tools", lambda name: None)
    monkeypatch.setattr(compiled, "_build", lambda *asked: found.append(asked))
    return found


def test_without_a_compiler_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_loaded", {})
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(DeviceUnavailable, match=r"a C\+\+ compiler and ninja.*operators"):
        norms.load_fused_kernels()
    assert not engine_fused.is_loaded()
    assert not online_fused.is_loaded()


def test_a_library_is_compiled_once_in_a_process(builds: List[Any], tmp_path: Path) -> None:
    for _ in range(2):
        compiled.load("normlab_nothing", ["engine_fused.cpp"], str(tmp_path))
    assert len(builds) == 1


def test_a_lock_of_a_killed_process_blocks_nobody(builds: List[Any], tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    compiled.load("normlab_nothing", [], str(tmp_path))
    assert not (tmp_path / "lock").exists()
    assert builds


def test_other_sources_are_compiled_into_another_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compiled, "_HERE", tmp_path)
    folders = set()
    for text in ("one", "two", "two"):
        (tmp_path / "some.cpp").write_text(text)
        folders.add(compiled._cache_folder("some"))
    assert len(folders) == 2


def test_a_folder_that_cannot_be_written_is_named(builds: List[Any], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeviceUnavailable, match="cannot be kept in"):
        compiled.load("normlab_nothing", [], str(tmp_path / "file" / "below"))
    assert not builds


def test_the_switch_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "load", lambda *_: object())
    with norms.fused_kernels(True):
        assert engine_fused.is_loaded()
        assert online_fused.is_loaded()
        with norms.fused_kernels(False):
            assert not engine_fused.is_loaded()
        assert online_fused.is_loaded()
    assert not engine_fused.is_loaded()
    assert not online_fused.is_loaded()
