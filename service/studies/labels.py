"""Labels of studies: names, notes and tags, and whether lists show them and their jobs."""

from __future__ import annotations

from normlab.errors import FieldProblem, InvalidSpec
from normlab.records import StudyRecord
from normlab.records.labels import Labels
from service.jobs.labels import changed, told
from service.store import audit, schema
from service.store.audit import Actor
from service.store.database import Database
from service.studies.records import read_records
from service.studies.studies import changeable


def change(database: Database, study: str, asked: Labels, by: Actor | None = None) -> StudyRecord:
    """
    Change the labels of *study*.

    Its specification stays as it was sent, so that the same file is still the same study. Its
    jobs are found by its tags, and hidden with it while it is archived.

    Raises:
        InvalidSpec: nothing is asked for, it would have too many tags, or no name.
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
