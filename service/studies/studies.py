"""Studies: grids of jobs that can be completed and never run twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert

from normlab.errors import Conflict, NotFound
from normlab.records import StudyDetail, StudyPage, StudyRecord
from normlab.specs.cells import expand
from normlab.specs.contrasts import comparisons
from normlab.specs.studies import StudySpec
from service.store import audit, schema
from service.store.audit import Action, Actor
from service.store.cursors import decode_cursor, encode_cursor
from service.store.database import Database
from service.store.identity import new_id, parse_id
from service.studies import looks
from service.studies.grids import Check, Place, add_cells, grid, refuse_wrong_cells
from service.studies.moves import cancel_all, retry_all
from service.studies.spaces import refuse_wrong_space

_COUNTS = text("""
    select c.study, count(*) as n,
        case when c.pruned and j.state = 'cancelled' then 'pruned'
             else coalesce(j.state, 'missing') end as state,
        count(*) filter (where c.reused) as reused
    from study_cell c left join job j on j.id = c.job
    where c.study = any(:studies) group by 1, 3
""")
_LOCK = text("select * from study where id = :study for update")
_PAGE = text("""
    select * from study where (cast(:before as uuid) is null or id < :before)
        and (cast(:name as text) is null or name = :name)
        and (cast(:owner as text) is null or owner = :owner)
    order by id desc limit :limit
""")
_REPORTED = text("""
    select distinct k.name from study_cell c
    join metric_last l on l.job = c.job join metric_key k on k.id = l.key
    where c.study = :study order by 1
""")
_HOLD = text("update job set held = :held where study = :study and state = 'queued'")
_PRIORITY = text("update job set priority = :priority where study = :study and state = 'queued'")


def create(
    database: Database,
    spec: StudySpec,
    *,
    owner: str,
    place: Place,
    check: Check,
    max_queued: int | None = None,
    by: Actor | None = None,
) -> tuple[StudyRecord, bool]:
    """
    Accept a study and queue the jobs of all its cells, in one transaction.

    Returns the study and whether it is new: the same specification of the same owner is the
    same study, so sending a file twice runs nothing twice.

    Args:
        max_queued: the most jobs that *owner* may have queued.
        by: who the audit trail says it was; None: nobody asked for it.

    Raises:
        InvalidSpec: the grid is invalid, or a cell breaks a rule; then nothing is queued.
        QuotaExceeded: *owner* would have too many jobs queued; then nothing is stored.
    """
    cells = [] if spec.search else expand(spec)  # a search proposes its cells over time
    refuse_wrong_cells(cells, check)
    refuse_wrong_space(spec, check)
    comparisons(spec, cells)  # refuses what cannot be compared
    row = _row(spec, owner)
    with database.begin() as connection:
        new = insert(schema.study).values(row).on_conflict_do_nothing().returning(schema.study.c.id)
        if connection.execute(new).first() is None:
            return _records(connection, [_same(connection, row)])[0], False
        add_cells(
            connection,
            row["id"],
            cells,
            owner=owner,
            place=place,
            reuse=spec.reuse,
            max_queued=max_queued,
        )
        audit.write(connection, by, "study.create", row["id"], cells=len(cells))
        return _records(connection, [row["id"]])[0], True


def extend(
    database: Database,
    study: str,
    spec: StudySpec,
    *,
    owner: str,
    place: Place,
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
    cells = expand(spec)
    refuse_wrong_cells(cells, check)
    comparisons(spec, cells)
    with database.begin() as connection:
        row = _locked(connection, study)
        looks.refuse_if_taken(connection, row.id)
        if row.state == "cancelled" or spec.search is not None or "search" in row.spec:
            raise Conflict(f"study {study} is {row.state}; only a live grid can grow")
        changes = _row(spec, row.owner)
        _refuse_another(connection, row, changes["fingerprint"])
        update = schema.study.update().where(schema.study.c.id == row.id)
        connection.execute(
            update.values({name: changes[name] for name in ("name", "spec", "fingerprint")})
        )
        held = row.state == "paused"
        add_cells(
            connection,
            row.id,
            cells,
            owner=owner,
            place=place,
            reuse=spec.reuse,
            held=held,
            max_queued=max_queued,
        )
        audit.write(connection, by, "study.extend", row.id, cells=len(cells))
        return _records(connection, [row.id])[0]


def complete(
    database: Database, study: str, max_queued: int | None = None, by: Actor | None = None
) -> StudyRecord:
    """
    Run the missing, failed or cancelled cells; leave running and succeeded cells alone.

    Raises:
        QuotaExceeded: the study's owner would have too many jobs queued; then nothing is queued.
    """
    with database.begin() as connection:
        row = _locked(connection, study)
        update = schema.study.update().where(schema.study.c.id == row.id)
        connection.execute(update.values(state="active", reason=None))
        connection.execute(_HOLD, {"study": row.id, "held": False})
        retry_all(connection, row.id, row.owner, max_queued)
        audit.write(connection, by, "study.complete", row.id)
        return _records(connection, [row.id])[0]


def pause(database: Database, study: str, by: Actor | None = None) -> StudyRecord:
    """Hold back the queued jobs; running ones go on."""
    return _switch(database, study, {"active"}, "paused", by, "study.pause")


def resume(database: Database, study: str, by: Actor | None = None) -> StudyRecord:
    """Let the held jobs run."""
    return _switch(database, study, {"paused"}, "active", by, "study.resume")


def cancel(database: Database, study: str, by: Actor | None = None) -> StudyRecord:
    """Cancel every job of the study that has not ended; `complete` takes it up again."""
    with database.begin() as connection:
        row = _locked(connection, study)
        update = schema.study.update().where(schema.study.c.id == row.id)
        connection.execute(update.values(state="cancelled"))
        cancel_all(connection, row.id)
        audit.write(connection, by, "study.cancel", row.id)
        return _records(connection, [row.id])[0]


def set_priority(
    database: Database, study: str, priority: int, by: Actor | None = None
) -> StudyRecord:
    """Move the queued jobs of the study up or down."""
    with database.begin() as connection:
        row = _locked(connection, study)
        connection.execute(_PRIORITY, {"study": row.id, "priority": priority})
        audit.write(connection, by, "study.priority", row.id, priority=priority)
        return _records(connection, [row.id])[0]


def get(database: Database, study: str) -> StudyDetail:
    """Return a study with all its cells; raise NotFound if it does not exist."""
    with database.autocommit() as connection:
        key = parse_id(study, "study")
        found = _records(connection, [key])
        if not found:
            raise _unknown(study)
        spec = select(schema.study.c.spec).where(schema.study.c.id == key)
        content = connection.execute(spec).scalar_one()
        return StudyDetail(
            **found[0].model_dump(),
            spec=StudySpec.from_store(content),
            grid=grid(connection, key),
        )


def paths(database: Database, study: str) -> list[str]:
    """Return the paths that *study* varies besides the seed."""
    return _paths(_found(database, study).spec)


def reported(database: Database, study: str) -> list[str]:
    """Return the names of all metrics that any job of *study* has reported, sorted."""
    key = _found(database, study).id
    with database.autocommit() as connection:
        return [row.name for row in connection.execute(_REPORTED, {"study": key})]


def stored(database: Database, study: str) -> tuple[Any, StudySpec]:
    """Return the row of *study*, and its specification."""
    row = _found(database, study)
    return row, StudySpec.from_store(row.spec)


def factors(database: Database, study: str) -> list[list[str]]:
    """Return the paths of *study* that move together, a list for each axis."""
    return stored(database, study)[1].factors


def owner_of(database: Database, study: str) -> str:
    """Return the owner of *study*."""
    owner: str = _found(database, study).owner
    return owner


def list_studies(
    database: Database,
    cursor: str | None = None,
    limit: int = 50,
    *,
    name: str | None = None,
    owner: str | None = None,
) -> StudyPage:
    """Return one page of studies, newest first: all, or those with this *name* or *owner*."""
    before = None if cursor is None else decode_cursor(cursor, "studies", [UUID])[0]
    with database.autocommit() as connection:
        values = {"before": before, "limit": limit + 1, "name": name, "owner": owner}
        found = [row.id for row in connection.execute(_PAGE, values)]
        records = _records(connection, found[:limit])
    more = len(found) > limit
    return StudyPage(
        studies=records,
        next_cursor=encode_cursor("studies", [str(found[limit - 1])]) if more else None,
    )


def _row(spec: StudySpec, owner: str) -> dict[str, Any]:
    return {
        "id": new_id(),
        "name": spec.name,
        "owner": owner,
        "state": "active",
        "spec": spec.model_dump(mode="json", exclude_defaults=True),
        "fingerprint": spec.fingerprint(),
    }


def _refuse_another(connection: Connection, row: Any, fingerprint: str) -> None:
    s = schema.study.c
    query = select(s.id).where(s.owner == row.owner, s.fingerprint == fingerprint, s.id != row.id)
    other = connection.execute(query).scalar()
    if other is not None:
        raise Conflict(f"study {other} asks for this grid already; complete that one instead")


def _same(connection: Connection, row: dict[str, Any]) -> UUID:
    s = schema.study.c
    query = select(s.id).where(s.owner == row["owner"], s.fingerprint == row["fingerprint"])
    found: UUID = connection.execute(query).scalar_one()
    return found


def _switch(
    database: Database, study: str, origin: set[str], to: str, by: Actor | None, action: Action
) -> StudyRecord:
    with database.begin() as connection:
        row = _locked(connection, study)
        if row.state not in origin:
            raise Conflict(f"study {study} is {row.state}, so it cannot become {to}")
        update = schema.study.update().where(schema.study.c.id == row.id)
        connection.execute(update.values(state=to))
        connection.execute(_HOLD, {"study": row.id, "held": to == "paused"})
        audit.write(connection, by, action, row.id)
        return _records(connection, [row.id])[0]


def _found(database: Database, study: str) -> Any:
    with database.autocommit() as connection:
        query = select(schema.study).where(schema.study.c.id == parse_id(study, "study"))
        row = connection.execute(query).first()
    if row is None:
        raise _unknown(study)
    return row


def _locked(connection: Connection, study: str) -> Any:
    row = connection.execute(_LOCK, {"study": parse_id(study, "study")}).first()
    if row is None:
        raise _unknown(study)
    return row


def _records(connection: Connection, studies: Sequence[UUID]) -> list[StudyRecord]:
    table = schema.study
    rows = {r.id: r for r in connection.execute(select(table).where(table.c.id.in_(studies)))}
    counts: dict[UUID, dict[str, int]] = {study: {} for study in rows}
    reused = dict.fromkeys(rows, 0)
    for row in connection.execute(_COUNTS, {"studies": list(rows)}):
        counts[row.study][row.state] = row.n
        reused[row.study] += row.reused
    return [_record(rows[s], counts[s], reused[s]) for s in studies if s in rows]


def _record(row: Any, counts: dict[str, int], reused: int) -> StudyRecord:
    cells = sum(counts.values())
    # a search and a study that decides say themselves when they are complete
    full = not {"search", "decide"} & set(row.spec) and counts.get("succeeded", 0) == cells
    return StudyRecord(
        id=str(row.id),
        name=row.name,
        owner=row.owner,
        state="complete" if full and row.state != "cancelled" else row.state,
        created_at=row.created_at,
        cells=cells,
        counts=counts,
        reused=reused,
        paths=_paths(row.spec),
        reason=row.reason,
    )


def _paths(spec: dict[str, Any]) -> list[str]:
    # Read without validation: a study that newer rules would refuse must not hide all others.
    axes = [path for axis in spec.get("axes", ()) for path in axis]
    return axes + list(spec.get("search", {}).get("space", ()))


def _unknown(study: str) -> NotFound:
    return NotFound(f"there is no study {study!r}; GET /v1/studies lists all")
