"""Time limits of reads: a read is stopped when its time is over or its client disconnects."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import psycopg
import structlog

from normlab.errors import ReadTimedOut

_CANCEL_S = 1.0
_log = structlog.get_logger(__name__)
_current: ContextVar[Patience | None] = ContextVar("patience", default=None)


class Patience:
    """
    The time limit of one read, over all of its statements.

    Code within `spent` uses it implicitly: the database stops its statements, and loops
    that compute call `check`.

    Args:
        within_s: seconds from now on.
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._until = time.monotonic() + within_s
        self._stopped = False
        self.may_be_cancelled_late = False
        """Whether the server may still cancel a statement of this connection, even a later one."""
        self._lock = threading.Lock()
        self._asking: psycopg.Connection[Any] | None = None

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Apply this limit to the code that runs here, in this thread."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def check(self) -> None:
        """Raise ReadTimedOut if the time is over."""
        if self._stopped or time.monotonic() > self._until:
            raise self.over()

    def over(self) -> ReadTimedOut:
        """Return the error for a read whose time is over."""
        return ReadTimedOut(
            f"this takes longer than the {self._within_s:g} s that a read may take; ask for less: "
            "narrow the filter, list fewer jobs or a smaller study, or try again later"
        )

    def stop(self) -> None:
        """
        From another thread, cancel the running statement and refuse later ones.

        If the server does not take the message, the statement ends at the server's own limit.
        """
        self._stopped = True
        # Held until the server has the message, so that it never affects the connection's next user
        with self._lock:
            if self._asking is None:
                return
            try:
                self._asking.cancel_safe(timeout=_CANCEL_S)
            except psycopg.Error as e:
                self.may_be_cancelled_late = True
                _log.warning("statement_not_cancelled", reason=str(e))

    @contextmanager
    def asking(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        """Let `stop` cancel the statements that *connection* runs in this context."""
        self.check()
        with self._lock:
            self._asking = connection
        try:
            yield
        finally:
            with self._lock:
                self._asking = None


def current() -> Patience | None:
    """Return the time limit that applies here; None if there is none."""
    return _current.get()


def check() -> None:
    """Raise ReadTimedOut if a time limit applies here and is over."""
    patience = _current.get()
    if patience is not None:
        patience.check()
