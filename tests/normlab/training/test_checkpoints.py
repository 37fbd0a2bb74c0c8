from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from normlab.errors import CheckpointUnusable, StorageFull
from normlab.events import CheckpointWritten
from normlab.training.checkpoints import CheckpointFolder, NamedCheckpoint

STATE: dict[str, Any] = {"weights": {"w": torch.arange(3.0)}, "step": 7, "last": [1.5, None]}


def named(written: CheckpointWritten) -> NamedCheckpoint:
    return NamedCheckpoint(written.step, Path(written.path), written.sha256)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    written = CheckpointFolder(tmp_path, "abc").write(7, STATE)
    state = CheckpointFolder(tmp_path, "abc", [named(written)]).load()
    assert state is not None
    assert torch.equal(state["weights"]["w"], STATE["weights"]["w"])
    assert (state["step"], state["last"]) == (7, [1.5, None])


def test_the_record_has_the_files_hash_and_size(tmp_path: Path) -> None:
    written = CheckpointFolder(tmp_path / "new", "abc").write(7, STATE)
    content = Path(written.path).read_bytes()
    assert written.sha256 == hashlib.sha256(content).hexdigest()
    assert written.bytes == len(content)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["step-000000007.pt"]


def test_only_the_newest_are_kept_the_earlier_attempts_counted(tmp_path: Path) -> None:
    first = CheckpointFolder(tmp_path / "1", "abc", keep=2)
    old = [named(first.write(step, STATE)) for step in (1, 2)]
    second = CheckpointFolder(tmp_path / "2", "abc", old, keep=2)
    second.write(3, STATE)
    assert [c.path.exists() for c in old] == [False, True]
    second.write(4, STATE)
    assert [c.path.exists() for c in old] == [False, False]
    assert sorted(p.name for p in (tmp_path / "2").iterdir()) == [
        "step-000000003.pt",
        "step-000000004.pt",
    ]


def test_only_a_named_checkpoint_is_resumed(tmp_path: Path) -> None:
    CheckpointFolder(tmp_path, "abc").write(7, STATE)
    assert CheckpointFolder(tmp_path, "abc").load() is None


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_an_older_file_is_used_in_place_of_a_damaged_one(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = CheckpointFolder(tmp_path, "abc")
    older, newer = (named(folder.write(step, {"step": step})) for step in (1, 2))
    content = bytearray(newer.path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        newer.path.unlink()
    else:
        newer.path.write_bytes(content if damage == "flipped" else content[:-1])
    state = CheckpointFolder(tmp_path, "abc", [older, newer]).load()
    assert state == {"step": 1}
    assert "step-000000002.pt" in caplog.text


def test_another_jobs_checkpoint_is_refused(tmp_path: Path) -> None:
    written = named(CheckpointFolder(tmp_path, "abc").write(7, STATE))
    with pytest.raises(CheckpointUnusable, match="fingerprint abc"):
        CheckpointFolder(tmp_path, "xyz", [written]).load()


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = tmp_path / "trap.pt"
    torch.save({"fingerprint": "abc", "format": 1, "state": Trap()}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(CheckpointUnusable, match=r"trap\.pt"):
        CheckpointFolder(tmp_path, "abc", [NamedCheckpoint(1, path, sha256)]).load()
    assert not (tmp_path / "sprung").exists()


def test_a_full_disk_is_reported_and_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = CheckpointFolder(tmp_path, "abc")
    kept = folder.write(1, STATE)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull, match="No space left") as caught:
        folder.write(2, STATE)
    assert caught.value.retryable
    assert [str(path) for path in tmp_path.iterdir()] == [kept.path]
