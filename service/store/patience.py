"""How long a reader waits: what he asked is stopped when his time is over, or when he leaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import psycopg

from normlab.errors import ReadTimedOut

_current: ContextVar[Patience | None] = ContextVar("patience", default=None)


class Patience:
    """
    The time of one read, over all of its statements.

    Whatever runs within `spent` finds it by itself: the database stops its statements, and loops
    that compute call `check`.

    Args:
        within_s: seconds from now on.
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._until = time.monotonic() + within_s
        self._stopped = False
        self._lock = threading.Lock()
        self._asking: psycopg.Connection[Any] | None = None

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Let what runs here, in this thread, be bounded by this patience."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def check(self) -> None:
        """Raise ReadTimedOut if it is over."""
        if self._stopped or time.monotonic() > self._until:
            raise self.over()

    def over(self) -> ReadTimedOut:
        """Return the error that says so."""
        return ReadTimedOut(
            f"this takes longer than the {self._within_s:g} s that a read may take; ask for less: "
            "narrow the filter, list fewer jobs or a smaller study, or try again when less is asked"
        )

    def stop(self) -> None:
        """End the statement that runs, from another thread, and refuse those that would follow."""
        self._stopped = True
        # Held until the server has the message: so it never meets the connection's next user
        with self._lock:
            if self._asking is not None:
                self._asking.cancel_safe(timeout=1.0)

    @contextmanager
    def asking(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        """Let `stop` end what *connection* runs in here."""
        self.check()
        with self._lock:
            self._asking = connection
        try:
            yield
        finally:
            with self._lock:
                self._asking = None


def current() -> Patience | None:
    """Return whose time is spent here; None if nobody waits."""
    return _current.get()


def check() -> None:
    """Raise ReadTimedOut if somebody waits here and his patience is over."""
    patience = _current.get()
    if patience is not None:
        patience.check()
