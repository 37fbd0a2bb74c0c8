"""The grid of a study in the database: its cells, and their jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

import orjson
from sqlalchemy import Connection, insert, text

from normlab.errors import FieldProblem, InvalidSpec, told
from normlab.records import CellRecord
from normlab.specs.cells import Cell
from normlab.specs.jobs import JobSpec
from service.jobs import submissions
from service.jobs.quota import reserve
from service.store import events, schema

Place = Callable[[JobSpec], tuple[str, str]]
"""Choose a device for a job, with the reason."""

Check = Callable[[JobSpec], Sequence[FieldProblem]]
"""Problems of a job that the schema cannot detect."""

_GRID = text("""
    select c.key, c.coordinates, c.seed, c.job, c.reused,
        case when c.pruned and j.state = 'cancelled' then 'pruned'
             else coalesce(j.state, 'missing') end as state
    from study_cell c left join job j on j.id = c.job
    where c.study = :study order by c.position
""")
_FINISHED = text("""
    select distinct on (fingerprint) fingerprint, id from job
    where owner = :owner and state = 'succeeded' and fingerprint = any(:keys)
    order by fingerprint, created_at
""")
_TURNS = text("insert into turn (device, owner) values (:device, :owner) on conflict do nothing")
_QUEUED = text("""
    insert into event (job, kind, payload)
    select id, 'queued', jsonb_build_object('device', device, 'attempt', 0)
    from job where id = any(:jobs) order by id
""")


def grid(connection: Connection, study: UUID) -> list[CellRecord]:
    """List the cells of a study in the order of its axes."""
    rows = connection.execute(_GRID, {"study": study}).mappings()
    return [
        CellRecord.model_validate({**row, "job": None if row["job"] is None else str(row["job"])})
        for row in rows
    ]


def refuse_wrong_cells(cells: Iterable[Cell], check: Check) -> None:
    """Raise InvalidSpec with the problems of the first cell that *check* objects to."""
    before = None
    for cell in cells:
        if cell.coordinates is before:  # differs only in its seed from a cell that was checked
            continue
        before = cell.coordinates
        problems = check(cell.spec)
        if problems:
            where = ", ".join(f"{k} = {v}" for k, v in cell.coordinates.items())
            raise InvalidSpec(
                f"the cell at {where} cannot run: {told(problems)}; exclude it or change the base",
                problems,
            )


def add_cells(
    connection: Connection,
    study: UUID,
    cells: Sequence[Cell],
    *,
    owner: str,
    place: Place,
    reuse: bool,
    held: bool = False,
    max_queued: int | None = None,
) -> list[UUID]:
    """
    Queue a job for each of *cells* that is new to the study; return the jobs.

    Raises:
        QuotaExceeded: *owner* would have more than *max_queued* jobs queued.
    """
    known = {cell.key for cell in grid(connection, study)}
    new = [cell for cell in cells if cell.key not in known]
    filled = finished_jobs(connection, owner, new) if reuse else {}
    placed: dict[str, tuple[str, str]] = {}
    rows = []
    for cell in new:
        if cell.key not in filled:
            # Cells that differ only in their seed go to the same device.
            where = orjson.dumps(cell.coordinates).decode()
            device, reason = placed.setdefault(where, place(cell.spec))
            row = submissions.row_of(cell.spec, owner, device, reason)
            rows.append(row | {"study": study, "cell": cell.key, "held": held})
    job_of = {row["cell"]: row["id"] for row in rows}
    if rows:
        reserve(connection, owner, len(rows), max_queued)
        connection.execute(insert(schema.job), rows)
        for device in {row["device"] for row in rows}:
            connection.execute(_TURNS, {"device": device, "owner": owner})
        connection.execute(_QUEUED, {"jobs": list(job_of.values())})
        events.notify(connection, rows[0]["id"])
    if new:
        connection.execute(
            insert(schema.study_cell),
            [
                {
                    "study": study,
                    "key": cell.key,
                    "position": len(known) + i,
                    "coordinates": cell.coordinates,
                    "seed": cell.seed,
                    "job": job_of.get(cell.key, filled.get(cell.key)),
                    "reused": cell.key in filled,
                }
                for i, cell in enumerate(new)
            ],
        )
    return list(job_of.values())


def finished_jobs(connection: Connection, owner: str, cells: Sequence[Cell]) -> dict[str, UUID]:
    """Find succeeded jobs of *owner* that have already computed *cells*."""
    keys = [cell.key for cell in cells]
    rows = connection.execute(_FINISHED, {"owner": owner, "keys": keys})
    return {row.fingerprint: row.id for row in rows}
