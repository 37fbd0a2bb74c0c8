"""Labels of jobs: their names, notes and tags, and whether lists show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from normlab.errors import Conflict, FieldProblem, InvalidSpec
from normlab.records import JobDetail
from normlab.records.labels import MOST_TAGS, Labels
from service.jobs.reading import detail, unknown
from service.store import audit, events, schema
from service.store.audit import Actor
from service.store.database import Database
from service.store.identity import parse_id

_j = schema.job.c


def change(database: Database, job: str, asked: Labels, by: Actor | None = None) -> JobDetail:
    """
    Change the labels of *job*; nothing else about it changes.

    Args:
        by: the actor for the audit trail; None: no person requested it.

    Raises:
        InvalidSpec: no change is given, or it would have too many tags.
        Conflict: it is in the trash.
    """
    with database.begin() as connection:
        row = _locked(connection, job)
        new = changed(row, asked)
        if new:
            connection.execute(schema.job.update().where(_j.id == row.id).values(new))
            events.record(connection, row.id, "labelled", told(new))
            audit.write(connection, by, "job.label", row.id, **told(new))
        return detail(connection, row.id)


def changed(row: Any, asked: Labels) -> dict[str, Any]:
    """Return the columns that *asked* changes in the *row* of a job or study, with their values."""
    if not asked.model_fields_set:
        rule = "name at least one of name, note, tags, add_tags, remove_tags, archived"
        raise InvalidSpec.of([FieldProblem("labels", rule)])
    given = asked.model_fields_set & {"name", "note"}
    wanted: dict[str, Any] = {what: getattr(asked, what) for what in given}
    wanted["tags"] = _tags(row.tags, asked)
    new = {what: value for what, value in wanted.items() if value != getattr(row, what)}
    if asked.archived is not None and asked.archived != (row.archived_at is not None):
        new["archived_at"] = func.clock_timestamp() if asked.archived else None
    return new


def told(new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changed columns for events and the audit trail."""
    rest = {what: value or "" for what, value in new.items() if what != "archived_at"}
    return rest | ({"archived": new["archived_at"] is not None} if "archived_at" in new else {})


def _tags(before: list[str], asked: Labels) -> list[str]:
    kept = (asked.tags or []) if "tags" in asked.model_fields_set else before
    tags = [tag for tag in (*kept, *asked.add_tags) if tag not in asked.remove_tags]
    tags = list(dict.fromkeys(tags))
    if len(tags) > MOST_TAGS:
        rule = f"{len(tags)} tags are too many; keep at most {MOST_TAGS}"
        raise InvalidSpec.of([FieldProblem("tags", rule)])
    return tags


def _locked(connection: Connection, job: str) -> Any:
    columns = (_j.id, _j.name, _j.note, _j.tags, _j.archived_at, _j.trashed_at)
    query = select(*columns).where(_j.id == parse_id(job)).with_for_update()
    row = connection.execute(query).first()
    if row is None:
        raise unknown(job)
    if row.trashed_at is not None:
        raise Conflict(f"job {job} is in the trash; restore it first")
    return row
