"""Check with a real write that the database accepts writes; only this detects a full disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from normlab.errors import NormlabError
from service.store.database import Database

EVERY_S = 2.0
# A new table needs new pages on the disk, as a job's row may; it never outlives the
# transaction, and no other transaction sees it.
_WRITE = text("""
    create temporary table normlab_write_probe on commit drop as
    select n, repeat('x', 1000) as filling from generate_series(1, 64) as n
""")


class WriteProbe:
    """Tries a small write at most every *every_s*; in between, it returns the last result."""

    def __init__(
        self,
        database: Database,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._tried_at = -float("inf")
        self._trouble: str | None = None

    def trouble(self) -> str | None:
        """Return why nothing can be written, or None."""
        with self._lock:  # of several concurrent callers, one tries
            if self._clock() - self._tried_at >= self._every_s:
                self._trouble = self._try()
                self._tried_at = self._clock()
            return self._trouble

    def _try(self) -> str | None:
        try:
            with self._database.begin() as connection:
                connection.execute(_WRITE)
        except NormlabError as e:
            return str(e)
        except SQLAlchemyError as e:  # such as a revoked privilege
            return str(getattr(e, "orig", None) or e).strip().splitlines()[0]
        return None
