"""Saved views of the table of jobs, in the database, by owner and name."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select, true
from sqlalchemy.dialects.postgresql import insert

from normlab.errors import Conflict, NotFound, QuotaExceeded
from normlab.records.projects import EVERYBODY
from normlab.records.tables import NewView, ViewList, ViewRecord
from service.store import schema
from service.store.database import Database
from service.store.identity import new_id, parse_id
from service.store.sight import current

MOST = 200
_v = schema.saved_view.c


def of_owner(database: Database, owner: str) -> ViewList:
    """List the views of *owner* by name."""
    query = select(schema.saved_view).where(_v.owner == owner).order_by(_v.name)
    with database.autocommit() as connection:
        return ViewList(views=[_record(row) for row in connection.execute(query)])


def get(database: Database, view: str) -> ViewRecord:
    """Return a view; raise NotFound if it does not exist."""
    with database.autocommit() as connection:
        return _get(connection, view)


def create(database: Database, owner: str, new: NewView) -> ViewRecord:
    """
    Save a view.

    Raises:
        Conflict: *owner* has a view of this name.
        QuotaExceeded: *owner* has MOST views.
    """
    with database.begin() as connection:
        counted = select(func.count()).select_from(schema.saved_view).where(_v.owner == owner)
        if connection.execute(counted).scalar_one() >= MOST:
            raise QuotaExceeded(f"{owner!r} already has {MOST} views; delete one first")
        values = _values(new) | {"id": new_id(), "owner": owner}
        made = insert(schema.saved_view).values(values).on_conflict_do_nothing()
        row = connection.execute(made.returning(schema.saved_view)).first()
    if row is None:
        raise _taken(new.name)
    return _record(row)


def replace(database: Database, view: str, new: NewView) -> ViewRecord:
    """Change a view; raise NotFound if it does not exist, Conflict if its name is taken."""
    with database.begin() as connection:
        old = _get(connection, view)
        others = (_v.owner == old.owner, _v.name == new.name, _v.id != parse_id(view, "view"))
        if connection.execute(select(_v.id).where(*others)).first() is not None:
            raise _taken(new.name)
        changed = schema.saved_view.update().where(_v.id == parse_id(view, "view"))
        values = _values(new) | {"changed_at": func.clock_timestamp()}
        row = connection.execute(changed.values(values).returning(schema.saved_view)).one()
    return _record(row)


def delete(database: Database, view: str) -> None:
    """Delete a view; raise NotFound if it does not exist."""
    with database.begin() as connection:
        _get(connection, view)
        connection.execute(schema.saved_view.delete().where(_v.id == parse_id(view, "view")))


def _get(connection: Connection, view: str) -> ViewRecord:
    query = select(schema.saved_view).where(_v.id == parse_id(view, "view"), _of_a_colleague())
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"there is no view {view!r}; it may have been deleted")
    return _record(row)


def _of_a_colleague() -> ColumnElement[bool]:
    """Whether the owner of a view is a member of a project in sight."""
    if current().projects is None:
        return true()
    member = schema.member.c
    shares = select(member.project).where(member.owner.in_((_v.owner, EVERYBODY)))
    return shares.where(current().condition(member.project)).exists()


def _record(row: Row[Any]) -> ViewRecord:
    return ViewRecord.model_validate({**row._mapping, "id": str(row.id)})


def _values(new: NewView) -> dict[str, Any]:
    return {"name": new.name, "content": new.content.model_dump(mode="json")}


def _taken(name: str) -> Conflict:
    return Conflict(f"you have a view named {name!r} already; save it under another name")
