"""Queue the planned cells of a study, a slice at a time: new ones, and those that have failed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from normlab.errors import InvalidSpec
from normlab.specs.cells import Cell, make_cells
from normlab.specs.costs import job_s
from normlab.specs.sizes import steps
from normlab.specs.studies import StudySpec
from service.jobs import quota, submissions
from service.jobs.placement import PlaceOf
from service.store import events, schema
from service.store.bulk import insert_rows
from service.studies.moves import SLICE, retry_some
from service.studies.records import CELLS, PLANNED

_NEXT = text(f"""
    select c.key, c.coordinates, c.seed, c.job from {CELLS}
    where c.study = :study and {PLANNED} order by c.position limit :limit
""")
_LEFT = text("""
    update study set planned = case when :all then 0 else greatest(0, planned - :done) end
    where id = :study
""")
# Rows that are needed when the owner or the project uses something for the first time
_NEW_DEVICES = text("""
    select device from unnest(cast(:devices as text[])) as of (device) where not exists
        (select from turn where turn.device = of.device and owner = :owner)
""")
_NEW_CODE = text("""
    select digest from plugin where digest = any(:code) and owner is not null and not exists
        (select from upload where upload.digest = plugin.digest and project = :project)
""")
_TURNS = text("""
    insert into turn (device, owner)
    select device, :owner from unnest(cast(:devices as text[])) as of (device) order by device
    on conflict do nothing
""")
_SHOW = text("""
    insert into upload (digest, project, owner)
    select digest, :project, :owner from unnest(cast(:code as text[])) as of (digest)
    order by digest on conflict do nothing
""")
_QUEUED = text("""
    insert into event (job, kind, payload)
    select id, 'queued', jsonb_build_object('device', device, 'attempt', 0)
    from job where id = any(:jobs) order by id
""")
_FILLED = text("""
    update study_cell set job = new.job, reused = false
    from unnest(cast(:keys as text[]), cast(:jobs as uuid[])) as new (key, job)
    where study = :study and study_cell.key = new.key
""")


def queue_slice(connection: Connection, row: Any, place: PlaceOf) -> int:
    """
    Queue the next cells of the study of *row*, which is locked; return their number.

    Raises:
        ValueError: the stored specification is no longer valid, or these are not its cells.
    """
    found = connection.execute(_NEXT, {"study": row.id, "limit": SLICE}).all()
    new = [cell for cell in found if cell.job is None]
    if new:
        _queue_new(connection, row, _cells(StudySpec.from_store(row.spec), new), place)
    retry_some(connection, [cell.job for cell in found if cell.job is not None])
    done = {"study": row.id, "done": len(found), "all": len(found) < SLICE}
    connection.execute(_LEFT, done)
    return len(found)


def _cells(spec: StudySpec, rows: Sequence[Any]) -> Iterator[Cell]:
    """Make the cells of *rows* again; only their coordinates are stored."""
    alike = itertools.groupby(rows, key=lambda row: orjson.dumps(row.coordinates))
    for _, group in alike:
        of = list(group)
        made = make_cells(spec, of[0].coordinates, [row.seed for row in of])
        for row, cell in zip(of, made, strict=True):
            if cell.key != row.key:
                raise InvalidSpec(
                    f"its cell at {row.coordinates}, seed {row.seed} was planned with another base"
                )
            yield cell


def _queue_new(connection: Connection, row: Any, cells: Iterator[Cell], place: PlaceOf) -> None:
    placed: dict[str, tuple[str, str]] = {}
    rows = []
    for cell in _longest_first(cells):
        # Cells that differ only in their seed go to the same device.
        where = orjson.dumps(cell.coordinates).decode()
        device, reason = placed.get(where) or placed.setdefault(where, place(cell.spec))
        made = submissions.row_of(cell.spec, row.owner, device, reason, row.project)
        # each cell has a trace of its own, and not that of the request that queued many
        rows.append(made | {"study": row.id, "cell": cell.key, "trace": None})
    insert_rows(connection, schema.job, rows)
    jobs: list[UUID] = [made["id"] for made in rows]
    connection.execute(_QUEUED, {"jobs": jobs})
    _use_for_the_first_time(connection, row, rows)
    keys = [made["cell"] for made in rows]
    connection.execute(_FILLED, {"study": row.id, "keys": keys, "jobs": jobs})
    events.notify(connection, jobs[0])


def _longest_first(cells: Iterator[Cell]) -> list[Cell]:
    """Order *cells* so that no slot has only the last and longest one to wait for."""

    def shortness(cell: Cell) -> float:
        found = job_s(cell.spec, steps(cell.spec))
        return -math.inf if found is None else -found

    return sorted(cells, key=shortness)


def _use_for_the_first_time(
    connection: Connection, row: Any, jobs: Sequence[dict[str, Any]]
) -> None:
    """Give the owner of *row* turns, and let its project see the code that its *jobs* name."""
    asked = {
        "owner": row.owner,
        "project": row.project,
        "devices": list({made["device"] for made in jobs}),
        "code": list({digest for made in jobs for digest in made["code"]}),
    }
    devices = connection.execute(_NEW_DEVICES, asked).scalars().all()
    code = connection.execute(_NEW_CODE, asked).scalars().all()
    if devices or code:
        quota.lock(connection, row.owner, row.project)
        connection.execute(_TURNS, {**asked, "devices": devices})
        connection.execute(_SHOW, {**asked, "code": code})
