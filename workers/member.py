"""Fill one of the seats of a job that another worker leads, until the attempt is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event as Flag

import structlog

from normlab.errors import JobStopped, ServiceUnavailable
from normlab.events import AnyEvent, Failed, Finished
from service.jobs import attendance
from service.jobs.attendance import Attendance
from service.jobs.seats import Seat
from service.settings import Settings
from service.store.database import Database
from workers.endings import ending_of, memory_kills
from workers.job_pipes import STOP_REASONS
from workers.process import JobProcess

_LOOK_S = 0.25  # the longest delay until the end of the process or a drain is noticed
_AGAIN_S = 1.0  # between two tries while the database does not answer
_TAIL_BYTES = 4096
# The leader requested this end, and knows the reason.
_STOPS = {JobStopped.code, *(error.code for error in STOP_REASONS.values())}
_log = structlog.get_logger()


class AttemptOver(Exception):
    """The leader's attempt is over, so this host is no longer needed."""


class SeatKeeper:
    """
    Keeps a seat, and the job process on it.

    Only the leader writes results. This host only reports how its process failed.

    Args:
        start: starts the job process, given the endpoint of the meeting.
        leaving: set when this worker drains.
        cannot_load: called with the digest of a plugin that the job process could not load, and
            why.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        seat: Seat,
        start: Callable[[str], JobProcess],
        leaving: Flag,
        cannot_load: Callable[[str, str], None] | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._seat = seat
        self._start = start
        self._leaving = leaving
        self._cannot_load = cannot_load
        self._leaves_at: float | None = None
        self._last_word: AnyEvent | None = None
        self._log_tail = b""

    def serve(self) -> None:
        """Run the job process on this host, and record how it failed, if it did."""
        log = _log.bind(job=str(self._seat.lease.job), seat=self._seat.number)
        kills_before = memory_kills()
        try:
            process = self._start(self._meet())
            log.info("seat_taken", pid=process.pid, leader=self._seat.lease.worker)
            try:
                self._follow(process)
            finally:
                process.close()
                self._read(process)
            self._tell(process.poll(), memory_kills() - kills_before)
        except AttemptOver as e:
            log.info("seat_over", reason=str(e))

    def keep_seat(self) -> None:
        """Renew the seat while the job process is prepared."""
        self._attend()

    def fail(self, failed: Failed) -> None:
        """Tell the leader why this host cannot take part."""
        try:
            attendance.end(self._database, self._seat, failed)
        except ServiceUnavailable as e:  # the leader will find this host silent
            _log.warning("last_word_not_written", reason=str(e))

    def _meet(self) -> str:
        while True:
            attended = self._attend()
            if attended is not None and attended.endpoint is not None:
                return attended.endpoint
            time.sleep(_LOOK_S)

    def _follow(self, process: JobProcess) -> None:
        attend_at = time.monotonic()
        while self._last_word is None and process.poll() is None:
            process.reader.wait(_LOOK_S)
            self._read(process)
            if time.monotonic() >= attend_at or self._has_news:
                known = self._attend() is not None
                pause_s = self._settings.heartbeat_s if known else _AGAIN_S
                attend_at = time.monotonic() + pause_s
        process.wait(timeout_s=_LOOK_S)

    @property
    def _has_news(self) -> bool:
        return self._leaving.is_set() and self._leaves_at is None

    def _attend(self) -> Attendance | None:
        """Renew the seat; None: the database does not answer, and a healthy job continues."""
        now = time.monotonic()
        if self._has_news:
            self._leaves_at = now + self._settings.grace_s + self._settings.heartbeat_s
        if self._leaves_at is not None and now > self._leaves_at:
            raise AttemptOver("this worker leaves, and its leader has not ended the attempt")
        leaves = self._leaves_at is not None
        try:
            found = attendance.attend(self._database, self._seat, self._settings.lease_s, leaves)
        except ServiceUnavailable:
            return None
        if found is None:
            raise AttemptOver("its leader has ended the attempt, or has lost it")
        return found

    def _read(self, process: JobProcess) -> None:
        harvest = process.reader.take()
        self._log_tail = (self._log_tail + harvest.log)[-_TAIL_BYTES:]
        for event in harvest.events:
            if isinstance(event, (Finished, Failed)):
                self._last_word = event

    def _tell(self, status: int | None, kills: int) -> None:
        ending = ending_of(self._last_word, status, None, kills, self._log_tail)
        if isinstance(ending, Failed) and ending.code not in _STOPS:
            log = self._log_tail.decode(errors="replace")
            _log.warning("seat_failed", code=ending.code, message=ending.message, log=log)
            self.fail(self._left_to_others(ending))

    def _left_to_others(self, failed: Failed) -> Failed:
        """Record what this worker cannot load, so that another attempt uses another host."""
        if self._cannot_load is None or not failed.cannot_load:
            return failed
        self._cannot_load(failed.cannot_load, failed.message)
        changes = {"cannot_load": "", "retryable": True, "failure_kind": "lost"}
        return failed.model_copy(update=changes)
