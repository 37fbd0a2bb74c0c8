"""The files that an attempt reads before it starts: checkpoints and weights, from a bucket."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event as Flag
from typing import TypeVar

import structlog

from normlab.errors import NotFound, ServiceUnavailable, StorageAway
from normlab.specs.jobs import JobSpec
from service.jobs.leases import Checkpoint
from service.results.continuing import checkpoint_for
from service.results.weight_sources import weights_for
from service.storage.store import Store, StoredFile
from service.store.database import Database
from workers.job_order import CheckpointReference
from workers.uploads import FIRST_PAUSE_S, LONGEST_PAUSE_S

T = TypeVar("T")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Provisions:
    """
    Provides the files that an attempt reads.

    Args:
        folder: the folder for copies.
        patience_s: how long to wait for a store that does not answer.
        stop: set when the files are no longer needed.
    """

    store: Store
    database: Database
    folder: Path
    patience_s: float
    stop: Flag

    def checkpoints(self, spec: JobSpec, own: Sequence[Checkpoint]) -> list[CheckpointReference]:
        """Return the job's own checkpoints, or else the checkpoint of the job that it continues."""
        if own:  # later than the checkpoint of the other job
            return self._own(own)
        earlier = checkpoint_for(self.database, spec, self.fetch)
        return [CheckpointReference(**found._asdict()) for found in earlier]

    def weights(self, spec: JobSpec, data_root: Path) -> str | None:
        """Return the file of the weights that *spec* starts from; None if it names none."""
        return weights_for(self.database, spec, data_root, self.fetch)

    def fetch(self, file: StoredFile) -> Path:
        """
        Return a file of this host with the content of *file*.

        Raises:
            NotFound: it is not there, or damaged.
            StorageAway: the store did not answer in time.
        """
        return self._patiently(partial(self.store.fetch, file, self.folder))

    def _own(self, own: Sequence[Checkpoint]) -> list[CheckpointReference]:
        # The job itself skips a damaged file. Copying ends with the first good one.
        found = []
        for one in own:
            try:
                there = self.store.local(one.path)
                path = there or self.fetch(one.file)
            except NotFound as e:
                _log.warning("checkpoint_unusable", place=one.path, reason=str(e))
                continue
            found.append(CheckpointReference(step=one.step, path=str(path), sha256=one.sha256))
            if there is None:
                break
        return found

    def _patiently(self, ask: Callable[[], T]) -> T:
        until, pause_s = time.monotonic() + self.patience_s, FIRST_PAUSE_S
        while True:
            try:
                return ask()
            except ServiceUnavailable as e:
                if time.monotonic() > until or self.stop.wait(pause_s):
                    raise StorageAway(f"the job cannot be prepared: {e}") from e
                _log.warning("waiting_for_storage", reason=str(e))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
