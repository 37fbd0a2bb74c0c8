"""Studies: grids of jobs that can be completed and never run twice."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert

from normlab.errors import Conflict
from normlab.records import StudyRecord
from normlab.records.projects import DEFAULT
from normlab.specs.cells import expand
from normlab.specs.contrasts import comparisons
from normlab.specs.studies import StudySpec
from service.jobs.placement import Check, PlaceOf
from service.jobs.priorities import refuse_priority
from service.jobs.quota import keep_within
from service.store import audit, schema
from service.store.audit import Action, Actor
from service.store.database import Database
from service.store.identity import new_id, parse_id
from service.studies import looks
from service.studies.details import unknown
from service.studies.grids import add_cells, refuse_rules_about_no_axis, refuse_wrong_cells
from service.studies.moves import cancel_slice
from service.studies.packs import refuse_unpackable
from service.studies.queueing import queue_slice
from service.studies.records import CELLS, UNFINISHED, read_records
from service.studies.spaces import refuse_wrong_space

_LOCK = text("select * from study where id = :study for update")
_UNFINISHED = text(f"select count(*) from {CELLS} where c.study = :study and {UNFINISHED}")
_ASK = text("""
    update study set state = 'active', reason = null, cancelling = false, planned = :planned,
        asked_at = clock_timestamp()
    where id = :study returning *
""")
_CANCEL = text("""
    update study set state = 'cancelled', cancelling = true, planned = 0, asked_at = null,
        priority = null
    where id = :study
""")


def create(
    database: Database,
    spec: StudySpec,
    *,
    owner: str,
    project: str = DEFAULT,
    place: PlaceOf,
    check: Check,
    max_queued: int | None = None,
    by: Actor | None = None,
) -> tuple[StudyRecord, bool]:
    """
    Accept a whole study: queue the jobs of its first cells, and plan the other cells. Planned cells
    count towards the limit of *owner*, and are queued slice by slice afterwards.
    Returns the study and whether it is new: the same specification of the same owner is the
    same study within a project, so sending a file twice runs nothing twice.

    Args:
        max_queued: the most jobs that *owner* may have queued.
        by: the actor for the audit trail; None: no person requested it.

    Raises:
        InvalidSpec: the grid is invalid, or a cell breaks a rule; then nothing is queued.
        QuotaExceeded: *owner* would have too many jobs queued, or has no storage left; then
            nothing is stored.
    """
    refuse_rules_about_no_axis(spec)
    cells = [] if spec.search else expand(spec)  # a search proposes its cells over time
    refuse_wrong_cells(cells, check)
    refuse_wrong_space(spec, check)
    refuse_unpackable(spec)
    comparisons(spec, cells)  # refuses values that cannot be compared
    row = _row(spec, owner, project)
    with database.begin() as connection:
        refuse_priority(connection, owner, project, spec, cells)
        new = insert(schema.study).values(row).on_conflict_do_nothing().returning(schema.study)
        study = connection.execute(new).first()
        if study is None:
            return read_records(connection, [_same(connection, row)])[0], False
        add_cells(connection, study, cells, place, reuse=spec.reuse)
        audit.write(connection, by, "study.create", row["id"], cells=len(cells))
        record = read_records(connection, [row["id"]])[0]
        keep_within(connection, owner, project, _unstarted(record), max_queued)
        return record, True


def extend(
    database: Database,
    study: str,
    spec: StudySpec,
    *,
    owner: str,
    place: PlaceOf,
    check: Check,
    max_queued: int | None = None,
    by: Actor | None = None,
) -> StudyRecord:
    """
    Extend *study* to a larger grid: its cells stay, and only new cells are queued.

    Raises:
        Conflict: the study was cancelled, or is a search.
        QuotaExceeded: *owner* would have too many jobs queued; the study stays as it was.
    """
    refuse_rules_about_no_axis(spec)
    cells = expand(spec)
    refuse_wrong_cells(cells, check)
    refuse_unpackable(spec)
    comparisons(spec, cells)
    with database.begin() as connection:
        row = changeable(connection, study)
        looks.refuse_if_taken(connection, row.id)
        _refuse_to_grow(row, spec)
        refuse_priority(connection, row.owner, row.project, spec, cells)
        changes = _row(spec, row.owner, row.project)
        _refuse_another(connection, row, changes["fingerprint"])
        before = _unstarted(read_records(connection, [row.id])[0])
        update = schema.study.update().where(schema.study.c.id == row.id).returning(schema.study)
        told = {name: changes[name] for name in ("name", "spec", "fingerprint")}
        if spec.name == row.spec["name"]:
            told["name"] = row.name  # it may have been renamed since
        row = connection.execute(update.values(told)).one()
        add_cells(connection, row, cells, place, reuse=spec.reuse)
        audit.write(connection, by, "study.extend", row.id, cells=len(cells))
        record = read_records(connection, [row.id])[0]
        keep_within(connection, row.owner, row.project, _unstarted(record) - before, max_queued)
        return record


def complete(
    database: Database,
    study: str,
    *,
    place: PlaceOf,
    max_queued: int | None = None,
    by: Actor | None = None,
) -> StudyRecord:
    """
    Run the missing, failed or cancelled cells; leave running and succeeded cells alone.

    Raises:
        QuotaExceeded: the study's owner would have too many jobs queued; then nothing is queued.
    """
    with database.begin() as connection:
        row = changeable(connection, study)
        before = _unstarted(read_records(connection, [row.id])[0])
        wanted = connection.execute(_UNFINISHED, {"study": row.id}).scalar_one()
        row = connection.execute(_ASK, {"study": row.id, "planned": wanted}).one()
        queue_slice(connection, row, place)
        audit.write(connection, by, "study.complete", row.id)
        record = read_records(connection, [row.id])[0]
        keep_within(connection, row.owner, row.project, _unstarted(record) - before, max_queued)
        return record


def pause(database: Database, study: str, by: Actor | None = None) -> StudyRecord:
    """Hold back the queued jobs; running ones continue."""
    return _switch(database, study, {"active"}, "paused", by, "study.pause")


def resume(database: Database, study: str, by: Actor | None = None) -> StudyRecord:
    """Let the held jobs run."""
    return _switch(database, study, {"paused"}, "active", by, "study.resume")


def cancel(database: Database, study: str, by: Actor | None = None) -> StudyRecord:
    """
    Cancel every job of the study that has not ended; `complete` continues the study. No such job
    starts from now on. In a large study, the jobs are ended slice by slice afterwards.
    """
    with database.begin() as connection:
        row = changeable(connection, study)
        connection.execute(_CANCEL, {"study": row.id})
        audit.write(connection, by, "study.cancel", row.id)
    # In a second transaction, so that no worker claims a job that this one has not seen: jobs
    # claimed before were first in the queue, so they are in the first slice.
    with database.begin() as connection:
        row = changeable(connection, study)
        if row.cancelling:
            cancel_slice(connection, row.id)
        return read_records(connection, [row.id])[0]


def _row(spec: StudySpec, owner: str, project: str) -> dict[str, Any]:
    return {
        "id": new_id(),
        "name": spec.name,
        "owner": owner,
        "project": project,
        "state": "active",
        "spec": spec.model_dump(mode="json", exclude_defaults=True),
        "fingerprint": spec.fingerprint(),
    }


def _refuse_another(connection: Connection, row: Any, fingerprint: str) -> None:
    s = schema.study.c
    query = select(s.id).where(s.owner == row.owner, s.project == row.project, s.id != row.id)
    query = query.where(s.fingerprint == fingerprint, s.trashed_at.is_(None))
    other = connection.execute(query).scalar()
    if other is not None:
        raise Conflict(f"study {other} already has this grid; complete that one instead")


def _same(connection: Connection, row: dict[str, Any]) -> UUID:
    s = schema.study.c
    query = select(s.id).where(s.owner == row["owner"], s.project == row["project"])
    query = query.where(s.fingerprint == row["fingerprint"], s.trashed_at.is_(None))
    found: UUID = connection.execute(query).scalar_one()
    return found


def _switch(
    database: Database, study: str, origin: set[str], to: str, by: Actor | None, action: Action
) -> StudyRecord:
    with database.begin() as connection:
        row = changeable(connection, study)
        if row.state not in origin:
            raise Conflict(f"study {study} is {row.state}, so it cannot become {to}")
        update = schema.study.update().where(schema.study.c.id == row.id)
        connection.execute(update.values(state=to))
        audit.write(connection, by, action, row.id)
        return read_records(connection, [row.id])[0]


def locked(connection: Connection, study: str) -> Any:
    """Return the row of *study*, locked; raise NotFound if it does not exist."""
    row = connection.execute(_LOCK, {"study": parse_id(study, "study")}).first()
    if row is None:
        raise unknown(study)
    return row


def changeable(connection: Connection, study: str) -> Any:
    """Return the row of *study*, locked; raise Conflict if it is in the trash."""
    row = locked(connection, study)
    if row.trashed_at is not None:
        raise Conflict(f"study {study} is in the trash; restore it first")
    return row


def _unstarted(study: StudyRecord) -> int:
    return study.counts.get("queued", 0) + study.counts.get("planned", 0)


def _refuse_to_grow(row: Any, spec: StudySpec) -> None:
    if row.state == "cancelled" or spec.search is not None or "search" in row.spec:
        raise Conflict(f"study {row.id} is {row.state}; only a live grid can grow")
    if row.planned:
        raise Conflict(
            f"{row.planned} cells of study {row.id} are still being queued; extend it when they are"
        )
