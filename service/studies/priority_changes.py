"""Change the priority of a study's queued jobs."""

from __future__ import annotations

from sqlalchemy import text

from normlab.errors import refuse
from normlab.records import StudyRecord
from service.jobs import priorities
from service.store import audit
from service.store.audit import Actor
from service.store.database import Database
from service.studies.moves import prioritize_slice
from service.studies.records import read_records
from service.studies.studies import changeable

_CHANGE = text("update study set priority = :priority where id = :study returning *")


def set_priority(
    database: Database, study: str, priority: int, by: Actor | None = None
) -> StudyRecord:
    """
    Move the queued jobs of the study up or down; in a large one slice by slice.

    Raises:
        InvalidSpec: its owner may not ask for so high a priority.
    """
    with database.begin() as connection:
        row = changeable(connection, study)
        refuse(priorities.problems(connection, row.owner, row.project, priority))
        row = connection.execute(_CHANGE, {"study": row.id, "priority": priority}).one()
        prioritize_slice(connection, row)
        audit.write(connection, by, "study.priority", row.id, priority=priority)
        return read_records(connection, [row.id])[0]
