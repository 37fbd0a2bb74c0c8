"""How long results of a worker's jobs have waited to be written to the database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from workers.ledger import Ledger


class Lags:
    """The ledgers of the attempts that a worker runs now; for all of its threads."""

    def __init__(self) -> None:
        self._ledgers: list[Ledger] = []
        self._lock = threading.Lock()

    @contextmanager
    def watching(self, ledger: Ledger) -> Iterator[None]:
        """Count *ledger* while the context is open."""
        with self._lock:
            self._ledgers.append(ledger)
        try:
            yield
        finally:
            with self._lock:
                self._ledgers.remove(ledger)

    @property
    def longest_s(self) -> float:
        """The time for which the oldest unwritten result has waited; 0 if there is none."""
        with self._lock:
            return max((ledger.waits_s for ledger in self._ledgers), default=0.0)
