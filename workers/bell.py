"""Wakes a worker's idle slots: after a message from the broker, or after a timeout."""

from __future__ import annotations

import threading


class Bell:
    """Rings are counted, so a ring between a query and a wait is not missed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rings = 0
        self._waiting = 0

    @property
    def rings(self) -> int:
        """The count to pass to `wait`, read before looking for work."""
        return self._rings

    def ring(self) -> bool:
        """Wake every idle slot; return whether there was one."""
        with self._changed:
            self._rings += 1
            self._changed.notify_all()
            return self._waiting > 0

    def wait(self, seen: int, timeout_s: float) -> bool:
        """Wait at most *timeout_s* for a ring after the first *seen*; return if there was one."""
        with self._changed:
            self._waiting += 1
            try:
                return self._changed.wait_for(lambda: self._rings > seen, timeout_s)
            finally:
                self._waiting -= 1
