"""Scratch folders vanish with their workers."""

from __future__ import annotations

from pathlib import Path

from workers.scratch import Scratch


def test_a_scratch_folder_goes_with_its_worker(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch", "one")
    (scratch.folder / "a.pt").write_bytes(b"a")
    scratch.close()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_what_a_killed_worker_left_is_removed_and_what_a_live_one_has_is_not(
    tmp_path: Path,
) -> None:
    alive = Scratch(tmp_path, "alive")
    (tmp_path / "killed.lock").touch()  # the kernel has released it
    (tmp_path / "killed" / "job").mkdir(parents=True)
    scratch = Scratch(tmp_path, "new")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("alive", "alive.lock", "new", "new.lock")
    }
    for one in (alive, scratch):
        one.close()
