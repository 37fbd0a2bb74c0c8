"""Run a function every few seconds in its own thread, and keep trying during outages."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from normlab.errors import ServiceUnavailable

_log = structlog.get_logger(__name__)
LONGEST_PAUSE_S = 60.0


class Loop(threading.Thread):
    """
    Calls *work* every *interval_s* until stop(). Exceptions are logged and do not end the loop.

    After a defect, the pause doubles with each failed round, up to LONGEST_PAUSE_S. During an
    outage it does not grow, so that the first round after the outage is not late.
    """

    def __init__(self, name: str, work: Callable[[], object], interval_s: float) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self._interval_s = interval_s
        self._stopping = threading.Event()

    def run(self) -> None:
        """Work, wait, and again."""
        pause_s = self._interval_s
        while not self._stopping.is_set():
            try:
                self._work()
                pause_s = self._interval_s
            except ServiceUnavailable as e:
                _log.warning("loop_waits", loop=self.name, reason=str(e))
                pause_s = self._interval_s
            except Exception:  # a defect in one round must not end all later ones
                pause_s = max(self._interval_s, min(2 * pause_s, LONGEST_PAUSE_S))
                _log.exception("loop_failed", loop=self.name, again_in_s=pause_s)
            self._stopping.wait(pause_s)

    def stop(self) -> None:
        """Finish the current round, and end the thread."""
        self._stopping.set()
        self.join(30)
