"""The folder for files that a worker's jobs write before upload to a bucket, or read from it."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import structlog

from normlab.errors import Conflict
from normlab.host.locks import held

_log = structlog.get_logger(__name__)


class Scratch:
    """
    A folder below *parent* while this is open; folders that killed workers left are removed.

    Args:
        worker: the id of the worker.
    """

    def __init__(self, parent: Path, worker: str) -> None:
        self._parent = parent.absolute()
        self._parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._locks = contextlib.ExitStack()
        # held until this process ends, however that happens
        self._locks.enter_context(held(self._lock(worker)))
        self.folder = self._parent / worker
        self.folder.mkdir(mode=0o700)
        self._remove_abandoned()

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock(self.folder.name).unlink(missing_ok=True)
        self._locks.close()

    def _lock(self, worker: str) -> Path:
        return self._parent / f"{worker}.lock"

    def _remove_abandoned(self) -> None:
        for lock in self._parent.glob("*.lock"):
            with contextlib.suppress(Conflict), held(lock, "its worker lives"):
                shutil.rmtree(self._parent / lock.stem, ignore_errors=True)
                lock.unlink(missing_ok=True)
                _log.info("abandoned_scratch_removed", worker=lock.stem)
