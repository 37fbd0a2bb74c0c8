"""The background work of keep-rules: all projects in turn, for a limited time in each round."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from service.keeping import rules as keep_rules
from service.keeping.collecting import JobPosition, some
from service.keeping.freeing import GRACE_S, Freeing
from service.storage.store import Store
from service.store.database import Database

_PASSING_S = 2.0
_BETWEEN_PASSES_S = 3600.0  # rules count in days
_log = structlog.get_logger(__name__)


class Collector:
    """
    Discards what projects no longer keep, and later deletes the files; several may run.

    Args:
        failed: called for each job whose files could not be deleted.
        grace_s: the time between the two.
    """

    def __init__(
        self,
        database: Database,
        files: Store,
        failed: Callable[[], object] = lambda: None,
        grace_s: float = GRACE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._freeing = Freeing(database, files, failed, grace_s)
        self._clock = clock
        self._waiting: list[str] = []  # projects of this pass
        self._place: JobPosition | None = None  # the position in the first of them
        self._next_pass = clock()

    def round(self) -> int:
        """Look at some jobs and delete some files; return how many were discarded or deleted."""
        until = self._clock() + _PASSING_S
        if not self._waiting and self._clock() >= self._next_pass:
            self._begin_pass()
        changed = 0
        while self._waiting and self._clock() < until:
            changed += self._look()
        return changed + self._freeing.round()

    def _begin_pass(self) -> None:
        with self._database.autocommit() as connection:
            self._waiting = keep_rules.with_rules(connection)
        self._place = None
        self._next_pass = self._clock() + _BETWEEN_PASSES_S

    def _look(self) -> int:
        """Look at the next jobs of the first project that waits."""
        project = self._waiting[0]
        rules = keep_rules.read(self._database, project)
        found = some(self._database, rules, self._place)
        self._place = found.place
        if found.place is None:
            self._waiting.pop(0)
        if found.expired:
            _log.info("kept_no_longer", project=project, jobs=len(found.expired))
        return len(found.expired)
