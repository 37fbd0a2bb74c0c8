"""Studies that add cells by themselves, round after round: what searches and decisions share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from service.one_by_one import OneByOne
from service.store.database import Database
from service.studies.grids import Check, Place

_ACTIVE = text("select id from study where state = 'active' and spec ? :field order by id")
_LOCK = text(
    "select id, owner, spec from study where id = :study and state = 'active'"
    " for update skip locked"
)
_END = text("update study set state = :state, reason = :reason where id = :study")
_NOTE = text("""
    update study set reason = :reason
    where id = :study and state = 'active' and reason is distinct from :reason
""")


class Rounds:
    """
    Advances every active study that has one field; any number of processes may do so at once.

    A failing study does not affect others; it stores the reason.

    Args:
        place: makes a function that chooses devices, once per study and round.
        check: finds the problems of a cell.
        max_queued: the limit of queued jobs per owner; cells beyond it wait.
        failed: called for each failure of a study.
    """

    field: str  # of the specification, which such a study has
    name: str  # in the log

    def __init__(
        self,
        database: Database,
        place: Callable[[], Place],
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

    def round(self) -> int:
        """Advance each study where that is due; return the number of changes."""
        with self._database.begin() as connection:
            active = [row.id for row in connection.execute(_ACTIVE, {"field": self.field})]
        return self._studies.round(active)

    def advance(self, connection: Connection, row: Any) -> int:
        """Do what is due for the study of *row*, which is locked; return the number of changes."""
        raise NotImplementedError

    def _in_turn(self, study: UUID) -> int:
        with self._database.begin() as connection:
            row = connection.execute(_LOCK, {"study": study}).first()
            if row is None:
                return 0  # another process is handling it
            touched = self.advance(connection, row)
            connection.execute(_NOTE, {"study": study, "reason": None})
        return touched

    def _failed(self, study: UUID, error: Exception, pause_s: float) -> None:
        self._count_failure()
        reason = f"a round of it failed ({type(error).__name__}: {error})"[:1000]
        with self._database.begin() as connection:
            values = {"study": study, "reason": f"{reason}; it is tried again in {pause_s:g} s"}
            connection.execute(_NOTE, values)


def end(connection: Connection, study: UUID, state: str, reason: str | None) -> None:
    """Move *study* to its last state."""
    connection.execute(_END, {"study": study, "state": state, "reason": reason})
