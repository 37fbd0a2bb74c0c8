"""Prepare the order of an attempt: its folder, and what the job process reads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event as Flag
from typing import TypeVar

from service.jobs.leases import Lease
from service.plugins.store import written
from service.results.norm_sources import norms_for
from service.settings import Settings
from service.storage.store import Store
from service.store.database import Database
from workers.checkpoint_files import CheckpointFiles
from workers.gpus import GpuPool
from workers.job_order import CodeReference, HostOrder, JobOrder
from workers.provisions import Provisions

T = TypeVar("T")


@dataclass(frozen=True)
class Orders:
    """
    Prepares orders of a worker.

    Args:
        files: the store of the files of jobs.
        threads: the share of the cores for each slot.
        gpus: the GPUs that claims get; None for other kinds of device.
        scratch: the folder for files that jobs write until they are stored, unless jobs write to
            the store itself; None: the folder of the settings.
    """

    database: Database
    settings: Settings
    files: Store
    threads: int
    gpus: GpuPool | None
    scratch: Path | None

    def prepare(self, lease: Lease, host: HostOrder | None, keep: Callable[[], object]) -> JobOrder:
        """
        Return the order of *lease*; call *keep* while the files that it reads are fetched.

        Raises:
            InvalidSpec: something that it reads is gone.
            ServiceUnavailable: the database does not answer.
            StorageAway: the store did not answer in time.
        """
        if self.files.in_place:
            return self._order(lease, host, Flag())
        return meanwhile(partial(self._order, lease, host), keep, self.settings.heartbeat_s)

    def clear(self, lease: Lease, seat: int | None) -> None:
        """Remove files of the attempt that are stored by now or no longer needed."""
        if not self.files.in_place:
            shutil.rmtree(self._folder(lease, seat), ignore_errors=True)

    def checkpoints(self, lease: Lease) -> CheckpointFiles:
        """Return the files of the job's checkpoints on this host."""
        return CheckpointFiles(self._room(lease), lease)

    def _room(self, lease: Lease) -> Path:
        scratch = (self.scratch or self.settings.scratch).absolute()
        return self.files.local(str(lease.job)) or scratch / str(lease.job)

    def _order(self, lease: Lease, host: HostOrder | None, stop: Flag) -> JobOrder:
        folder = self._folder(lease, None if host is None else host.seat)
        patience_s = self.settings.storage_patience_s
        reads = Provisions(self.files, self.database, folder / "fetched", patience_s, stop)
        leads = host is None or host.seat == 0
        return JobOrder(
            job=str(lease.job),
            attempt=lease.attempt,
            code=[self._code(digest) for digest in lease.spec.code],
            spec=lease.spec,
            device=lease.device,
            folder=str(folder),
            data_root=str(self.settings.datasets.absolute()),
            # the leader sends its state to the other hosts
            resume=reads.checkpoints(lease.spec, lease.resume) if leads else [],
            # otherwise the originals are recorded, and these copies are not needed
            keep_checkpoints=None if self.files.in_place else max(2, lease.spec.checkpoint.keep),
            threads=self.threads,
            memory_bytes=self.settings.job_memory_bytes,
            norms=norms_for(self.database, lease.spec),
            weights=reads.weights(lease.spec, self.settings.datasets),
            gpus=None if self.gpus is None else self.gpus.of(lease),
            host=host,
        )

    def _folder(self, lease: Lease, seat: int | None) -> Path:
        # Each attempt has its own folder, so that a frozen one cannot damage later files.
        return self._room(lease) / (f"attempt-{lease.attempt}" + (f"-host-{seat}" if seat else ""))

    def _code(self, digest: str) -> CodeReference:
        name, folder = written(self.database, digest, self.settings.code)
        return CodeReference(digest=digest, name=name, folder=str(folder.absolute()))


def meanwhile(work: Callable[[Flag], T], keep: Callable[[], object], every_s: float) -> T:
    """
    Run *work* and return its result; until then, call *keep* at intervals. If *keep* raises, the
    flag that *work* was given is set, and the error is raised once *work* ends.
    """
    stop = Flag()
    with ThreadPoolExecutor(1, thread_name_prefix="meanwhile") as pool:
        doing = pool.submit(copy_context().run, work, stop)
        try:
            while not wait([doing], every_s).done:
                keep()
        finally:
            stop.set()
    return doing.result()
