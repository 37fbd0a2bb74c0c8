"""Run something every few seconds in a thread of its own; a server that is away is waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from normlab.errors import ServiceUnavailable

_log = structlog.get_logger(__name__)
LONGEST_PAUSE_S = 60.0


class Loop(threading.Thread):
    """
    Calls *work* every *interval_s* until stop(); what it raises is logged, and ends nothing.

    After a defect the pause doubles with each round that fails again, up to LONGEST_PAUSE_S; for
    a server that is away it stays, so that the first round after its return is not late.
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
        """Let the round end, and then the thread."""
        self._stopping.set()
        self.join(30)
