"""Supervise one attempt at one job, from its claim to its fenced end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Flag

import structlog
from structlog.contextvars import bound_contextvars

from normlab.errors import DeviceUnavailable, InvalidSpec, NormlabError, ServiceUnavailable
from normlab.events import AnyEvent, Failed, Finished
from service.jobs import leases, tallies
from service.jobs.leases import Lease
from service.jobs.seats import Seat
from service.plugins.store import written
from service.results.continuing import checkpoint_for
from service.results.norm_sources import norms_for
from service.results.weight_sources import weights_for
from service.settings import Settings
from service.store.database import Database
from service.traces import Traces
from workers.attempt_traces import AttemptTrace, trace
from workers.endings import Ending, FellApart, Released, StopReason, ending_of, memory_kills
from workers.gpus import GpuPool
from workers.job_order import CheckpointReference, CodeReference, HostOrder, JobOrder
from workers.lags import Lags
from workers.ledger import FencedOff, Ledger
from workers.member import Member
from workers.other_hosts import OtherHosts
from workers.process import JobProcess, Launcher

_LOOK_S = 0.25  # the longest delay until a drain or a time limit is noticed
_WRITE_S = 0.5  # between two writes to the database, until the job has ended
_AGAIN_S = 1.0  # between two tries while the database is away
_FAREWELL_S = 0.5  # for a process to exit by itself after its last event
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
        cannot_load: told the digest of a plugin that a job process could not load, and why.
        lags: knows the ledgers of the attempts.
        traces: takes the spans of the attempts; None: they are not traced.
    """

    database: Database
    settings: Settings
    launcher: Launcher
    threads: int
    leaving: Flag
    gpus: GpuPool | None = None
    cannot_load: Callable[[str, str], None] | None = None
    lags: Lags = field(default_factory=Lags)
    traces: Traces | None = None

    def work_on(self, claim: Lease) -> None:
        """Run *claim* to its end; in every case, none of its processes is left behind."""
        told = trace(self.traces, claim)
        ledger = Ledger(self.database, claim, told.hear)
        with self.lags.watching(ledger), bound_contextvars(**_named(claim)):
            self._work_on(claim, ledger, told)

    def _work_on(self, claim: Lease, ledger: Ledger, told: AttemptTrace) -> None:
        problem = None
        try:
            ending = self._run(claim, ledger)
            told.ended(ending)
            self._settle(claim, ledger, ending)
        except FencedOff as e:
            problem = f"fenced off: {e}"
            _log.warning("attempt_fenced_off", job=str(claim.job), reason=str(e))
            self._count_fenced(claim)
        except Exception as e:
            problem = f"{type(e).__name__}: {e}"
            _log.exception("attempt_broken", job=str(claim.job), attempt=claim.attempt)
            self._settle(claim, Ledger(self.database, claim), _cannot_keep(e))
        finally:
            told.close(problem)
            if self.gpus is not None:
                self.gpus.give_back(claim.job)

    def _count_fenced(self, claim: Lease) -> None:
        try:
            tallies.count(self.database, tallies.FENCED, claim.device)
        except ServiceUnavailable as e:
            _log.warning("fencing_not_counted", reason=str(e))

    def attend(self, seat: Seat) -> None:
        """Take part in another worker's attempt; in every case, no process is left behind."""

        def start(endpoint: str) -> JobProcess:
            host = HostOrder(seat=seat.number, address=seat.address, endpoint=endpoint)
            return self.launcher.start(self._order(seat.lease, host))

        member = Member(self.database, self.settings, seat, start, self.leaving, self.cannot_load)
        try:
            member.serve()
        except OSError as e:
            member.fail(_cannot_start(e))
        except (InvalidSpec, ServiceUnavailable) as e:
            member.fail(_cannot_order(e))
        finally:
            if self.gpus is not None:
                self.gpus.give_back(seat.lease.job)

    def _run(self, claim: Lease, ledger: Ledger) -> Ending:
        log = _log.bind(job=str(claim.job), attempt=claim.attempt)
        kills_before = memory_kills()
        try:
            process = self.launcher.start(self._order(claim, _leading(claim)))
        except OSError as e:
            return _cannot_start(e)
        except (InvalidSpec, ServiceUnavailable) as e:
            return _cannot_order(e)
        log.info("attempt_started", pid=process.pid)
        try:
            watch = _Watch(self, claim, process, ledger)
            watch.follow()
        finally:
            process.close()
        ledger.take(process.reader.take())
        ending = watch.ending(memory_kills() - kills_before)
        log.info("attempt_ended", ending=type(ending).__name__, exit=process.poll())
        return self._left_to_others(ending)

    def _left_to_others(self, ending: Ending) -> Ending:
        """Give a job back whose code this worker cannot load, once this worker knows it."""
        if self.cannot_load is None or not isinstance(ending, Failed) or not ending.cannot_load:
            return ending
        self.cannot_load(ending.cannot_load, ending.message)
        return Released(f"left to a worker that can load its code: {ending.message}")

    def _order(self, claim: Lease, host: HostOrder | None) -> JobOrder:
        # Each attempt has its own folder, so that a frozen one cannot damage later files.
        name = f"attempt-{claim.attempt}"
        if host is not None and host.seat:
            name += f"-host-{host.seat}"
        folder = self._jobs / str(claim.job) / name
        return JobOrder(
            job=str(claim.job),
            attempt=claim.attempt,
            code=[self._code(digest) for digest in claim.spec.code],
            spec=claim.spec,
            device=claim.device,
            folder=str(folder),
            data_root=str(self.settings.datasets.absolute()),
            resume=self._checkpoints(claim),
            threads=self.threads,
            memory_bytes=self.settings.job_memory_bytes,
            norms=norms_for(self.database, claim.spec),
            weights=weights_for(self.database, claim.spec, self.settings.datasets, self._jobs),
            gpus=None if self.gpus is None else self.gpus.of(claim.job),
            host=host,
        )

    @property
    def _jobs(self) -> Path:
        return self.settings.jobs.absolute()

    def _checkpoints(self, claim: Lease) -> list[CheckpointReference]:
        own = [
            CheckpointReference(step=c.step, path=str(self._jobs / c.path), sha256=c.sha256)
            for c in claim.resume
        ]
        if own:  # later than those of the job that this one continues
            return own
        earlier = checkpoint_for(self.database, claim.spec, self._jobs)
        return [CheckpointReference(**c._asdict()) for c in earlier]

    def _code(self, digest: str) -> CodeReference:
        name, folder = written(self.database, digest, self.settings.code)
        return CodeReference(digest=digest, name=name, folder=str(folder.absolute()))

    def _settle(self, claim: Lease, ledger: Ledger, ending: Ending) -> None:
        """Write what is left and the end, trying on while the database is away."""
        log = _log.bind(job=str(claim.job), attempt=claim.attempt)
        while True:
            try:
                ledger.flush()
                if not _write_end(self.database, claim, ending, self.settings.retry_backoff_s):
                    log.warning("end_came_too_late", ending=type(ending).__name__)
                return
            except ServiceUnavailable as e:
                log.warning("end_not_written_yet", reason=str(e))
                if self.leaving.wait(timeout=_AGAIN_S):
                    return  # the lease runs out, and the reaper gives the job to another worker


class _Watch:
    """Watches one process: reads events, writes them, renews the lease, requests stops."""

    def __init__(
        self, supervisor: Supervisor, claim: Lease, process: JobProcess, ledger: Ledger
    ) -> None:
        self._supervisor = supervisor
        self._claim = claim
        self._process = process
        self._ledger = ledger
        lease_s = supervisor.settings.lease_s
        self._others = OtherHosts(supervisor.database, claim, lease_s)
        self._last_word: AnyEvent | None = None
        self._asked: StopReason | None = None
        now = time.monotonic()
        self._kill_at = float("inf")
        self._time_up_at = now + (math.inf if claim.time_left_s is None else claim.time_left_s)
        self._write_at = now
        self._renew_at = now + supervisor.settings.heartbeat_s

    def follow(self) -> None:
        """
        Return when the process has sent its last event or has ended.

        Raises:
            FencedOff: if the claim is over.
        """
        while self._last_word is None and self._process.poll() is None:
            due = min(self._renew_at, self._kill_at, self._time_up_at)
            if self._ledger.pending:
                due = min(due, self._write_at)
            self._process.reader.wait(max(0.0, min(due - time.monotonic(), _LOOK_S)))
            self._read()
            self._heed()
            if self._last_word is None:
                self._write()
                self._renew()
        self._process.wait(timeout_s=_FAREWELL_S)
        self._process.kill()  # processes that it left behind hold the pipes open
        self._process.reader.join(timeout_s=_FAREWELL_S)
        self._read()

    def ending(self, kills: int) -> Ending:
        """Return how the attempt ended."""
        ending = ending_of(
            self._last_word, self._process.poll(), self._asked, kills, self._ledger.log_tail
        )
        return self._others.cause_of(ending)

    def _read(self) -> None:
        harvest = self._process.reader.take()
        for event in harvest.events:
            if isinstance(event, (Finished, Failed)):
                self._last_word = event
        self._ledger.take(harvest)
        self._others.hear(harvest.events)

    def _heed(self) -> None:
        """Pass on a request to stop the job; after the grace period, kill it."""
        now = time.monotonic()
        if self._supervisor.leaving.is_set() or self._others.leaves:
            self._ask("drained")
        if now >= self._time_up_at:
            self._ask("timeout")
        if now >= self._kill_at or self._others.ends_it():
            self._process.kill()

    def _ask(self, reason: StopReason) -> None:
        if self._asked is None:
            self._asked = reason
            self._kill_at = time.monotonic() + self._supervisor.settings.grace_s
            self._process.ask_to_stop(reason)

    def _write(self) -> None:
        if not self._ledger.pending or time.monotonic() < self._write_at:
            return
        try:
            self._ledger.flush()
            self._write_at = time.monotonic() + _WRITE_S
        except ServiceUnavailable as e:
            self._write_at = time.monotonic() + _AGAIN_S
            _log.warning("results_wait_for_the_database", reason=str(e))

    def _renew(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        settings = self._supervisor.settings
        try:
            renewal = leases.renew(self._supervisor.database, self._claim, settings.lease_s)
        except ServiceUnavailable:
            # A database outage is no reason to end a healthy job.
            self._others.miss()
            self._renew_at = time.monotonic() + min(_AGAIN_S, settings.heartbeat_s)
            return
        self._renew_at = time.monotonic() + settings.heartbeat_s
        if renewal is None:
            raise FencedOff("another worker may have the job")
        if renewal.cancel_requested:
            self._ask("cancelled")
        self._others.look()


def _named(claim: Lease) -> dict[str, str | int]:
    """Return what every line of the log within the attempt has."""
    names: dict[str, str | int] = {"job": str(claim.job), "attempt": claim.attempt}
    return names if claim.request is None else {**names, "request": claim.request}


def _leading(claim: Lease) -> HostOrder | None:
    return HostOrder(seat=0, address=claim.hosts[0].address) if claim.hosts else None


def _write_end(database: Database, claim: Lease, ending: Ending, backoff_s: float) -> bool:
    if isinstance(ending, Finished):
        return leases.finish(database, claim, ending)
    if isinstance(ending, FellApart):
        return leases.release(database, claim, ending.message, ending.most)
    if isinstance(ending, Released):
        return leases.release(database, claim, ending.message)
    return leases.fail(database, claim, ending, backoff_s)


def _cannot_start(error: OSError) -> Failed:
    return Failed.from_error(
        DeviceUnavailable(f"the job process cannot be started on this worker: {error}")
    )


def _cannot_order(error: NormlabError) -> Failed:
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
