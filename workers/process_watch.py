"""Watch the process of one attempt until it has ended and its files are stored."""

from __future__ import annotations

import math
import time
from threading import Event as Flag

import structlog

from normlab.errors import ServiceUnavailable, StorageAway
from normlab.events import AnyEvent, Failed, Finished
from service.jobs import leases
from service.jobs.leases import Lease
from service.settings import Settings
from service.store.database import Database
from workers.endings import Ending, StopReason, ending_of
from workers.ledger import FencedOff, Ledger
from workers.other_hosts import OtherHosts
from workers.process import JobProcess
from workers.uploads import Uploads

AGAIN_S = 1.0
"""The seconds between two tries while the database does not answer."""
_LOOK_S = 0.25  # the longest delay until a drain or a time limit is noticed
_WRITE_S = 0.5  # between two writes to the database, until the job has ended
_FAREWELL_S = 0.5  # seconds in which a process exits by itself after its last event
_log = structlog.get_logger()


class ProcessWatch:
    """
    Watches one job process: reads events, writes them, renews the lease, requests stops.

    Args:
        leaving: set when the worker drains.
        ledger: takes what the process reports, and writes it.
        uploads: stores the files of the process.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        leaving: Flag,
        lease: Lease,
        process: JobProcess,
        ledger: Ledger,
        uploads: Uploads,
    ) -> None:
        self._database = database
        self._settings = settings
        self._leaving = leaving
        self._lease = lease
        self._process = process
        self._ledger = ledger
        self._uploads = uploads
        self._others = OtherHosts(database, lease, settings.lease_s)
        self._last_word: AnyEvent | None = None
        self._asked: StopReason | None = None
        now = time.monotonic()
        self._kill_at = float("inf")
        self._time_up_at = now + (math.inf if lease.time_left_s is None else lease.time_left_s)
        self._write_at = now
        self._renew_at = now + settings.heartbeat_s

    def follow(self) -> None:
        """
        Return when the process has sent its last event or has ended.

        Raises:
            FencedOff: if the lease is over.
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

    def await_files(self) -> Failed | None:
        """
        Wait until the files of the process, which has ended, are stored; return why one is not.

        Raises:
            FencedOff: if the lease is over.
        """
        began = time.monotonic()
        self._read()
        while self._uploads.pending and self._uploads.lost is None:
            waited_s = time.monotonic() - began
            if waited_s > self._patience_s:
                return _cannot_store(f"the storage did not answer for {waited_s:.0f} s")
            self._uploads.wait(_LOOK_S)
            self._read()
            self._write()
            self._renew()
        return None if self._uploads.lost is None else _cannot_store(self._uploads.lost)

    @property
    def _patience_s(self) -> float:
        """How long the storage may take; longer for a job with results."""
        wanted = isinstance(self._last_word, Finished) and self._asked is None
        if wanted and not self._leaving.is_set():
            return self._settings.storage_patience_s
        return self._settings.grace_s

    def ending(self, kills: int) -> Ending:
        """Return how the attempt ended."""
        ending = ending_of(
            self._last_word, self._process.poll(), self._asked, kills, self._ledger.log_tail
        )
        return self._others.cause_of(ending)

    def _read(self) -> None:
        harvest = self._uploads.pass_on(self._process.reader.take())
        for event in harvest.events:
            if isinstance(event, (Finished, Failed)):
                self._last_word = event
        self._ledger.take(harvest)
        self._others.hear(harvest.events)

    def _heed(self) -> None:
        """Pass on a request to stop the job; after the grace period, kill it."""
        now = time.monotonic()
        if self._leaving.is_set() or self._others.leaves:
            self._ask("drained")
        if now >= self._time_up_at:
            self._ask("timeout")
        if now >= self._kill_at or self._others.ends_it():
            self._process.kill()

    def _ask(self, reason: StopReason) -> None:
        if self._asked is None:
            self._asked = reason
            self._kill_at = time.monotonic() + self._settings.grace_s
            self._process.ask_to_stop(reason)

    def _write(self) -> None:
        if not self._ledger.pending or time.monotonic() < self._write_at:
            return
        try:
            self._ledger.flush()
            self._write_at = time.monotonic() + _WRITE_S
        except ServiceUnavailable as e:
            self._write_at = time.monotonic() + AGAIN_S
            _log.warning("results_wait_for_the_database", reason=str(e))

    def _renew(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        settings = self._settings
        try:
            renewal = leases.renew(self._database, self._lease, settings.lease_s)
        except ServiceUnavailable:
            # A healthy job continues during a database outage.
            self._others.miss()
            self._renew_at = time.monotonic() + min(AGAIN_S, settings.heartbeat_s)
            return
        self._renew_at = time.monotonic() + settings.heartbeat_s
        if renewal is None:
            raise FencedOff("another worker may have the job")
        if renewal.cancel_requested:
            self._ask("cancelled")
        self._others.look()


def _cannot_store(reason: str) -> Failed:
    return Failed.from_error(
        StorageAway(f"the job ended, but its files could not be stored: {reason}")
    )
