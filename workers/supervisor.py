"""Supervise one attempt at one job, from its claim to its fenced end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event as Flag

import structlog
from structlog.contextvars import bound_contextvars

from normlab.errors import (
    DeviceUnavailable,
    InvalidSpec,
    JobDrained,
    JobError,
    NormlabError,
    ServiceUnavailable,
    StorageAway,
)
from normlab.events import Failed, Finished
from service.jobs import leases, tallies
from service.jobs.leases import Lease
from service.jobs.seats import Seat
from service.settings import Settings
from service.storage.folder import FolderStore
from service.storage.store import Store
from service.store.database import Database
from service.traces import Traces
from workers.attempt_traces import AttemptTrace, trace
from workers.endings import Ending, FellApart, Released, memory_kills
from workers.gpus import GpuPool
from workers.job_order import HostOrder
from workers.ledger import FencedOff, Lags, Ledger
from workers.member import SeatKeeper
from workers.orders import Orders
from workers.process import JobProcess, Launcher
from workers.process_watch import AGAIN_S, ProcessWatch
from workers.uploads import Uploads

_log = structlog.get_logger()


@dataclass(frozen=True)
class Supervisor:
    """
    The dependencies of every attempt of a worker.

    Args:
        launcher: starts job processes.
        threads: the share of the cores per slot.
        leaving: set when the worker drains.
        gpus: the GPUs that claims get; None for other kinds of device.
        cannot_load: called with the digest of a plugin that a job process could not load, and why.
        lags: knows the ledgers of the attempts.
        store: the store of the jobs' files; None: the folder that the settings name.
        scratch: the folder for files that jobs write until they are stored, unless they write to
            the store itself.
        traces: records the spans of the attempts; None: they are not traced.
    """

    database: Database
    settings: Settings
    launcher: Launcher
    threads: int
    leaving: Flag
    gpus: GpuPool | None = None
    cannot_load: Callable[[str, str], None] | None = None
    lags: Lags = field(default_factory=Lags)
    store: Store | None = None
    scratch: Path | None = None
    traces: Traces | None = None

    def work_on(self, lease: Lease) -> None:
        """Run *lease* to its end; in every case, none of its processes is left behind."""
        told = trace(self.traces, lease)
        ledger = Ledger(self.database, lease, self._orders.checkpoints(lease), told.hear)
        with self.lags.watching(ledger), bound_contextvars(**_named(lease)):
            self._work_on(lease, ledger, told)

    def _work_on(self, lease: Lease, ledger: Ledger, told: AttemptTrace) -> None:
        uploads = Uploads(self._files, self.database, lease)
        problem = None
        try:
            ending = self._run(lease, ledger, uploads)
            told.ended(ending)
            self._settle(lease, ledger, ending)
        except FencedOff as e:
            problem = f"fenced off: {e}"
            _log.warning("attempt_fenced_off", job=str(lease.job), reason=str(e))
            self._count_fenced(lease)
        except Exception as e:
            problem = f"{type(e).__name__}: {e}"
            _log.exception("attempt_broken", job=str(lease.job), attempt=lease.attempt)
            ledger = Ledger(self.database, lease, self._orders.checkpoints(lease))
            self._settle(lease, ledger, _cannot_keep(e))
        finally:
            uploads.close()
            self._orders.clear(lease, None)
            told.close(problem)
            if self.gpus is not None:
                self.gpus.give_back(lease)

    def _count_fenced(self, lease: Lease) -> None:
        try:
            tallies.count(self.database, tallies.FENCED, lease.device)
        except ServiceUnavailable as e:
            _log.warning("fencing_not_counted", reason=str(e))

    def attend(self, seat: Seat) -> None:
        """Take part in another worker's attempt; in every case, no process is left behind."""

        def start(endpoint: str) -> JobProcess:
            host = HostOrder(seat=seat.number, address=seat.address, endpoint=endpoint)
            order = self._orders.prepare(seat.lease, host, lambda: member.keep_seat())
            return self.launcher.start(order)

        member = SeatKeeper(
            self.database, self.settings, seat, start, self.leaving, self.cannot_load
        )
        try:
            member.serve()
        except OSError as e:
            member.fail(_cannot_start(e))
        except (InvalidSpec, ServiceUnavailable, StorageAway) as e:
            member.fail(_cannot_order(e))
        finally:
            self._orders.clear(seat.lease, seat.number)
            if self.gpus is not None:
                self.gpus.give_back(seat.lease)

    def _run(self, lease: Lease, ledger: Ledger, uploads: Uploads) -> Ending:
        log = _log.bind(job=str(lease.job), attempt=lease.attempt)
        kills_before = memory_kills()
        try:
            order = self._orders.prepare(lease, _leading(lease), partial(self._keep, lease))
            self._orders.checkpoints(lease).drop_unrecorded()
            process = self.launcher.start(order)
        except OSError as e:
            return _cannot_start(e)
        except JobDrained as e:
            return Released(str(e))
        except (InvalidSpec, ServiceUnavailable, StorageAway) as e:
            return _cannot_order(e)
        log.info("attempt_started", pid=process.pid)
        try:
            watch = ProcessWatch(
                self.database, self.settings, self.leaving, lease, process, ledger, uploads
            )
            watch.follow()
        finally:
            process.close()
        kills = memory_kills() - kills_before
        unstored = watch.await_files()
        ending = watch.ending(kills)
        if unstored is not None and isinstance(ending, Finished):
            ending = unstored
        log.info("attempt_ended", ending=type(ending).__name__, exit=process.poll())
        return self._left_to_others(ending)

    def _left_to_others(self, ending: Ending) -> Ending:
        """Give back a job whose code this worker cannot load, once the worker has recorded this."""
        if self.cannot_load is None or not isinstance(ending, Failed) or not ending.cannot_load:
            return ending
        self.cannot_load(ending.cannot_load, ending.message)
        return Released(f"left to a worker that can load its code: {ending.message}")

    def _keep(self, lease: Lease) -> None:
        if self.leaving.is_set():
            raise JobDrained("its worker left the service")
        try:
            renewal = leases.renew(self.database, lease, self.settings.lease_s)
        except ServiceUnavailable:
            return
        if renewal is None:
            raise FencedOff("another worker may have the job")

    @property
    def _orders(self) -> Orders:
        return Orders(
            self.database, self.settings, self._files, self.threads, self.gpus, self.scratch
        )

    @property
    def _files(self) -> Store:
        return self.store or FolderStore(self.settings.jobs)

    def _settle(self, lease: Lease, ledger: Ledger, ending: Ending) -> None:
        """Write the remaining events and the end; retry while the database does not answer."""
        log = _log.bind(job=str(lease.job), attempt=lease.attempt)
        while True:
            try:
                ledger.flush()
                if not _write_end(self.database, lease, ending, self.settings.retry_backoff_s):
                    log.warning("end_came_too_late", ending=type(ending).__name__)
                return
            except ServiceUnavailable as e:
                log.warning("end_not_written_yet", reason=str(e))
                if self.leaving.wait(timeout=AGAIN_S):
                    return  # the lease expires, and the reaper gives the job to another worker


def _named(lease: Lease) -> dict[str, str | int]:
    """Return the fields that every line of the log within the attempt has."""
    names: dict[str, str | int] = {"job": str(lease.job), "attempt": lease.attempt}
    return names if lease.request is None else {**names, "request": lease.request}


def _leading(lease: Lease) -> HostOrder | None:
    return HostOrder(seat=0, address=lease.hosts[0].address) if lease.hosts else None


def _write_end(database: Database, lease: Lease, ending: Ending, backoff_s: float) -> bool:
    if isinstance(ending, Finished):
        return leases.finish(database, lease, ending)
    if isinstance(ending, FellApart):
        return leases.release(database, lease, ending.message, ending.most)
    if isinstance(ending, Released):
        return leases.release(database, lease, ending.message)
    return leases.fail(database, lease, ending, backoff_s)


def _cannot_start(error: OSError) -> Failed:
    return Failed.from_error(
        DeviceUnavailable(f"the job process cannot be started on this worker: {error}")
    )


def _cannot_order(error: NormlabError) -> Failed:
    if isinstance(error, JobError):
        return Failed.from_error(error)
    return Failed(
        code=error.code,
        failure_kind="lost" if error.retryable else "user",
        retryable=error.retryable,
        message=f"the job cannot be prepared: {error}",
    )


def _cannot_keep(error: Exception) -> Failed:
    return Failed(
        code="unexpected",
        failure_kind="user",
        retryable=False,
        message=f"the worker cannot store the job's results: {type(error).__name__}: {error}"[
            :1000
        ],
    )
