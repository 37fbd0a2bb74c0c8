"""The connections of a job process to its supervisor: event pipe, stop request, lifeline."""

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
    "drained": "the job's worker is stopping; the job continues on another one",
}


class EventPipe:
    """Send records to the supervisor, one JSON object per line; safe for all threads."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, event: Event, member: Optional[int] = None) -> None:
        """Write the whole *event*, of a *member* of a pack; wait while the supervisor is behind."""
        mark = b"" if member is None else f"{member}\t".encode()
        rest = memoryview(mark + event.to_line())
        with self._lock:
            while rest:
                rest = rest[os.write(self._fd, rest) :]


class StopRequest:
    """
    Whether this job was asked to stop, and why: SIGTERM requests it, and a line has the reason. The
    state is in memory that forks of this process share: if one is asked, all know.
    """

    def __init__(self) -> None:
        self._note = mmap.mmap(-1, 2)  # whether a stop was requested; the reason's number, from 1
        self._members: Dict[int, str] = {}  # members of a pack, which are asked one by one
        self.signalled = False  # whether this process itself got the signal
        self._leave: Optional[Callable[[JobStopped], None]] = None

    def listen(self) -> None:
        """Treat SIGTERM as a request from now on (in the main thread)."""
        signal.signal(signal.SIGTERM, self._on_sigterm)

    @contextmanager
    def answered_by(self, leave: Callable[[JobStopped], None]) -> Iterator[None]:
        """
        Call *leave* to end this process on a stop request, while nothing is worth keeping.

        It is called in the thread that gets the request. An exception would not do: a module
        that is being imported may catch it.
        """
        self._leave = leave
        self._heed()
        try:
            yield
        finally:
            self._leave = None

    def give(self, reason: str) -> None:
        """
        Record the reason; an unknown reason counts as a drain, after which the job continues.

        A reason and a number, with a space between, are for one member of a pack.
        """
        word, _, member = reason.partition(" ")
        if member.isdigit():
            self._members.setdefault(int(member), word if word in STOP_REASONS else "drained")
            return
        self._note[1] = _REASONS.index(reason if reason in STOP_REASONS else "drained") + 1
        self._note[0] = 1
        self._heed()

    def __call__(self) -> Optional[JobStopped]:
        """Return the error to stop with, or None without a request."""
        if not self._note[0]:
            return None
        reason = _REASONS[self._note[1] - 1] if self._note[1] else "drained"
        return STOP_REASONS[reason](_MESSAGES[reason])

    def of(self, member: int) -> Callable[[], Optional[JobStopped]]:
        """Return a function that returns the request to one *member* of a pack, or to all."""

        def ask() -> Optional[JobStopped]:
            own = self._members.get(member)
            return self() if own is None else STOP_REASONS[own](_MESSAGES[own])

        return ask

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
    Read the rest of standard input in a thread: lines are reasons to stop.

    The supervisor holds the other end while it runs. End of file means that
    nothing stores this job's results any more, so the whole process group is killed.
    """

    def follow() -> None:
        for line in stdin:
            stop.give(line.decode().strip())
        kill_own_group()

    threading.Thread(target=follow, name="lifeline", daemon=True).start()


def kill_own_group() -> None:
    """Kill this process and everything that it started."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
