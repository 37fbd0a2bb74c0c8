"""Checkpoints: the whole state of a training in one file, written atomically."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import torch

from normlab.errors import CheckpointUnusable, StorageFull
from normlab.events import CheckpointWritten
from normlab.host.disks import is_full, sync_folder

_FORMAT = 1
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NamedCheckpoint:
    """
    A checkpoint that may be resumed from, with the hash of its file.

    *fingerprint* is that of the other job that this one continues; None if the checkpoint is its
    own.
    """

    step: int
    path: Path
    sha256: str
    fingerprint: Optional[str] = None


class CheckpointFolder:
    """
    The checkpoints of one job's attempt.

    Args:
        folder: their folder; created when the first one is written.
        fingerprint: that of the job's spec; a checkpoint of another job is refused.
        resume: checkpoints of earlier attempts, in any order. No other checkpoint is used,
            even if it is in *folder*.
        keep: the number of newest checkpoints to keep; None for all, because the supervisor, which
            knows the recorded ones, deletes the others.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        resume: Sequence[NamedCheckpoint] = (),
        keep: Optional[int] = 2,
    ) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.keep = keep
        self._resume = sorted(resume, key=lambda named: named.step, reverse=True)
        # do not delete another job's checkpoint
        own = [named for named in self._resume if named.fingerprint is None]
        self._kept: List[Path] = [named.path for named in reversed(own)]

    def load(self) -> Optional[Dict[str, Any]]:
        """
        Return the newest readable state, or None if there is none to resume from.

        A missing or damaged file is skipped, with a warning in the log.

        Raises:
            CheckpointUnusable: a checkpoint is complete, but of another spec; or the checkpoint of
                the job that this one continues is missing or damaged.
        """
        for named in self._resume:
            try:
                return _read(named, named.fingerprint or self.fingerprint)
            except _Damaged as e:
                if named.fingerprint is not None:
                    raise CheckpointUnusable(
                        f"the job cannot continue from another job's checkpoint: {e}"
                    ) from e
                _log.warning("%s; trying an older checkpoint", e)
        return None

    def write(self, step: int, state: Dict[str, Any]) -> CheckpointWritten:
        """
        Write *state* (tensors and plain values in dictionaries) as the one after *step* updates.

        Raises:
            StorageFull: no space is left; the file's beginning is removed.
        """
        record = {
            "format": _FORMAT,
            "step": step,
            "fingerprint": self.fingerprint,
            "state": state,
        }
        buffer = io.BytesIO()
        torch.save(record, buffer)
        path = self.folder / f"step-{step:09d}.pt"
        write_whole(path, buffer.getbuffer())
        self._drop_all_but_newest(path)
        sha256 = hashlib.sha256(buffer.getbuffer()).hexdigest()
        size = buffer.getbuffer().nbytes
        return CheckpointWritten(step=step, path=str(path), sha256=sha256, bytes=size)

    def _drop_all_but_newest(self, newest: Path) -> None:
        self._kept = [path for path in self._kept if path != newest]
        self._kept.append(newest)
        while self.keep is not None and len(self._kept) > self.keep:
            self._kept.pop(0).unlink(missing_ok=True)


class _Damaged(Exception):
    """The file differs from what was written."""


def _read(named: NamedCheckpoint, fingerprint: str) -> Dict[str, Any]:
    try:
        content = named.path.read_bytes()
    except OSError as e:
        raise _Damaged(f"{named.path}: cannot be read: {e.strerror}") from e
    found = hashlib.sha256(content).hexdigest()
    if found != named.sha256:
        raise _Damaged(f"{named.path}: its SHA-256 is {found}, but {named.sha256} was written")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TypedStorage")  # torch 2.0 uses it itself
            # weights_only: tensors and plain values, so no code in the file can run
            record = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as e:
        raise CheckpointUnusable(f"{named.path} holds no checkpoint: {e}") from e
    if record["fingerprint"] != fingerprint:
        raise CheckpointUnusable(
            f"{named.path} was written by a job with fingerprint {record['fingerprint'][:12]}, "
            f"but this job has {fingerprint[:12]}, so its spec differs; start without a checkpoint"
        )
    if record["format"] != _FORMAT:
        raise CheckpointUnusable(
            f"{named.path} has format {record['format']}, but this version reads {_FORMAT}"
        )
    state: Dict[str, Any] = record["state"]
    return state


def write_whole(path: Path, content: memoryview) -> None:
    """
    Write *content* so that a reader sees the whole file or none.

    Raises:
        StorageFull: no space is left; the file's beginning is removed.
    """
    # Rename is atomic, and fsync comes before it.
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        sync_folder(path.parent)
    except OSError as e:
        part.unlink(missing_ok=True)
        if is_full(e):
            raise StorageFull(
                f"no space for {path} of {len(content)} bytes "
                f"({e.strerror}); free some, then retry the job"
            ) from e
        raise
