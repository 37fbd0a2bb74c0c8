"""Changes of studies that do not affect their cells: labels, and the priority of their jobs."""

from __future__ import annotations

from sqlalchemy import text

from normlab.errors import FieldProblem, InvalidSpec, refuse
from normlab.records import StudyRecord
from normlab.records.labels import Labels
from service.jobs import priorities
from service.jobs.labels import changed, told
from service.store import audit, schema
from service.store.audit import Actor
from service.store.database import Database
from service.studies.moves import prioritize_slice
from service.studies.records import read_records
from service.studies.studies import changeable


def label(database: Database, study: str, asked: Labels, by: Actor | None = None) -> StudyRecord:
    """
    Change the labels of *study*.

    Its specification stays as it was sent, so that the same file is still the same study. Its tags
    also find its jobs, and archiving it also hides them.

    Raises:
        InvalidSpec: no change is given, or it would have too many tags or no name.
        Conflict: it is in the trash.
    """
    if "name" in asked.model_fields_set and asked.name is None:
        raise InvalidSpec.of([FieldProblem("name", "a study needs a name; give another one")])
    with database.begin() as connection:
        row = changeable(connection, study)
        new = changed(row, asked)
        if new:
            s = schema.study
            connection.execute(s.update().where(s.c.id == row.id).values(new))
            audit.write(connection, by, "study.label", row.id, **told(new))
        return read_records(connection, [row.id])[0]


_CHANGE = text("update study set priority = :priority where id = :study returning *")


def set_priority(
    database: Database, study: str, priority: int, by: Actor | None = None
) -> StudyRecord:
    """
    Change the priority of the study's queued jobs; in a large study slice by slice.

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
