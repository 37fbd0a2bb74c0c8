"""The common part of the loops that advance studies round after round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from service.jobs.placement import Check, PlaceOf
from service.one_by_one import OneByOne
from service.store.database import Database
from service.store.projects import sight_of
from service.store.sight import seeing

_END = text("""
    update study set state = :state, reason = :reason, planned = 0, asked_at = null
    where id = :study
""")


class Rounds:
    """
    Advances every study that fulfils a condition; any number of processes may do so at once.

    A failing study does not affect others; it stores the reason. Each study is advanced with the
    sight of its owner.

    Args:
        place: makes a function that chooses devices, once per study and round.
        check: finds the problems of a cell.
        max_queued: the limit of queued jobs per owner; cells beyond it wait.
        failed: called for each failure of a study.
    """

    name: str  # in the log
    condition: str  # in SQL, of such a study

    def __init__(
        self,
        database: Database,
        place: Callable[[], PlaceOf],
        check: Check,
        max_queued: int | None = None,
        failed: Callable[[], object] = lambda: None,
    ) -> None:
        self._database = database
        self._place = place
        self._check = check
        self._max_queued = max_queued
        self._count_failure = failed
        self._studies = OneByOne(self.name, self._in_turn, self._failed)
        where = f"where id = :study and {self.condition}"
        self._due = text(f"select id from study where {self.condition} order by id")
        self._lock = text(f"select * from study {where} for update skip locked")
        self._note = text(
            f"update study set reason = :reason {where} and reason is distinct from :reason"
        )

    def round(self) -> int:
        """Advance each study where that is due; return the number of changes."""
        with self._database.begin() as connection:
            due = [row.id for row in connection.execute(self._due)]
        return self._studies.round(due)

    def advance(self, connection: Connection, row: Any) -> int:
        """Advance the study of *row*, which is locked, if due; return the number of changes."""
        raise NotImplementedError

    def _in_turn(self, study: UUID) -> int:
        with self._database.begin() as connection:
            row = connection.execute(self._lock, {"study": study}).first()
            if row is None:
                return 0  # another process is handling it
            connection.execute(self._note, {"study": study, "reason": None})
            with seeing(sight_of(connection, row.owner, row.project)):
                return self.advance(connection, row)

    def _failed(self, study: UUID, error: Exception, pause_s: float) -> None:
        self._count_failure()
        reason = f"a round of the study failed ({type(error).__name__}: {error})"[:1000]
        with self._database.begin() as connection:
            values = {"study": study, "reason": f"{reason}; it is tried again in {pause_s:g} s"}
            connection.execute(self._note, values)


def end(connection: Connection, study: UUID, state: str, reason: str | None) -> None:
    """Move *study* to its last state."""
    connection.execute(_END, {"study": study, "state": state, "reason": reason})
