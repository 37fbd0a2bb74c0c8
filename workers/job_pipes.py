"""A job process's ties to its supervisor: the event pipe, the stop request, the lifeline."""

from __future__ import annotations

import mmap
import os
import signal
import threading
from contextlib import contextmanager
from types import FrameType
from typing import BinaryIO, Callable, Dict, Iterator, Optional, Type

from normlab.errors import JobCancelled, JobDrained, JobStopped, JobTimedOut
from normlab.events import Event

STOP_REASONS: Dict[str, Type[JobStopped]] = {
    "cancelled": JobCancelled,
    "timeout": JobTimedOut,
    "drained": JobDrained,
}
_REASONS = tuple(STOP_REASONS)
_MESSAGES = {
    "cancelled": "the job was cancelled",
    "timeout": "the job ran longer than its time_limit_s",
    "drained": "the job's worker leaves; the job continues elsewhere",
}


class EventPipe:
    """Send records to the supervisor, one JSON object a line; any thread may."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, event: Event) -> None:
        """Write *event* whole, waiting while the supervisor is behind."""
        rest = memoryview(event.to_line())
        with self._lock:
            while rest:
                rest = rest[os.write(self._fd, rest) :]


class StopRequest:
    """
    Whether somebody wants this job to stop, and why: SIGTERM, and a line that says why.

    It lies in memory that forks of this process share: what one is told, all know.
    """

    def __init__(self) -> None:
        self._note = mmap.mmap(-1, 2)  # whether anybody asked; the number of the reason, from 1
        self.signalled = False  # whether this very process got the signal
        self._leave: Optional[Callable[[JobStopped], None]] = None

    def listen(self) -> None:
        """Take SIGTERM as a request from now on (in the main thread)."""
        signal.signal(signal.SIGTERM, self._on_sigterm)

    @contextmanager
    def answered_by(self, leave: Callable[[JobStopped], None]) -> Iterator[None]:
        """
        Have *leave* end this process as soon as anybody asks, while nothing is worth keeping.

        It is called in whichever thread hears of it: an exception would not do, since a module
        that is being imported may catch it.
        """
        self._leave = leave
        self._heed()
        try:
            yield
        finally:
            self._leave = None

    def give(self, reason: str) -> None:
        """Note why; an unknown reason counts as a drain, after which the job goes on."""
        self._note[1] = _REASONS.index(reason if reason in STOP_REASONS else "drained") + 1
        self._note[0] = 1
        self._heed()

    def __call__(self) -> Optional[JobStopped]:
        """Return the error to stop with, or None while nobody asked."""
        if not self._note[0]:
            return None
        reason = _REASONS[self._note[1] - 1] if self._note[1] else "drained"
        return STOP_REASONS[reason](_MESSAGES[reason])

    def _on_sigterm(self, _signal: int, _frame: Optional[FrameType]) -> None:
        self._note[0] = 1
        self.signalled = True
        self._heed()

    def _heed(self) -> None:
        leave, asked = self._leave, self()
        if leave is not None and asked is not None:
            leave(asked)


def watch_lifeline(stdin: BinaryIO, stop: StopRequest) -> None:
    """
    Follow the rest of standard input in a thread: lines are reasons to stop.

    The supervisor holds the other end for as long as it lives. Its end means that
    nobody keeps this job's results any more, so the whole process group dies.
    """

    def follow() -> None:
        for line in stdin:
            stop.give(line.decode().strip())
        kill_own_group()

    threading.Thread(target=follow, name="lifeline", daemon=True).start()


def kill_own_group() -> None:
    """End this process and everything it started, at once."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
