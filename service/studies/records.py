"""
Studies as records: their stored fields, and the number of cells in each state.

The state of a cell, in SQL, is the state of its job, or what its study will do with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, text

from normlab.records import CellRecord, StudyRecord
from service.store import schema

PLANNED = """(s.planned > 0 and not c.pruned and (c.job is null
    or (j.state in ('failed', 'cancelled') and j.finished_at <= s.asked_at and not c.reused)))"""
"""Whether the cell `c` of the study `s` waits to be queued, and `j` is its job, if it has one."""

UNFINISHED = """(not c.pruned and (c.job is null
    or (j.state in ('failed', 'cancelled') and not c.reused)))"""
"""Whether completing the study would queue the cell."""

STATE = f"""case when c.pruned and j.state = 'cancelled' then 'pruned'
    when {PLANNED} then 'planned' else coalesce(j.state, 'missing') end"""

CELLS = "study_cell c join study s on s.id = c.study left join job j on j.id = c.job"
"""The tables that these conditions read."""

_COUNTS = text(f"""
    select c.study, count(*) as n, {STATE} as state, count(*) filter (where c.reused) as reused
    from {CELLS} where c.study = any(:studies) group by 1, 3
""")
_CELLS = text(f"""
    select c.key, c.position, c.coordinates, c.seed, c.job, c.reused, {STATE} as state
    from {CELLS} where c.study = :study and c.position > :after
    order by c.position limit :limit
""")


def read_records(connection: Connection, studies: Sequence[UUID]) -> list[StudyRecord]:
    """Return the records of those *studies* that exist, in the same order."""
    table = schema.study
    rows = {r.id: r for r in connection.execute(select(table).where(table.c.id.in_(studies)))}
    counts: dict[UUID, dict[str, int]] = {study: {} for study in rows}
    reused = dict.fromkeys(rows, 0)
    for row in connection.execute(_COUNTS, {"studies": list(rows)}):
        counts[row.study][row.state] = row.n
        reused[row.study] += row.reused
    return [_record(rows[s], counts[s], reused[s]) for s in studies if s in rows]


def read_cells(
    connection: Connection, study: UUID, after: int, limit: int
) -> tuple[list[CellRecord], int | None]:
    """
    List cells of *study* in the order of its axes.

    Returns also the position of the last one, if there are more.

    Args:
        after: a position; -1: from the first.
    """
    rows = connection.execute(_CELLS, {"study": study, "after": after, "limit": limit + 1}).all()
    cells = [
        CellRecord(
            key=row.key,
            coordinates=row.coordinates,
            seed=row.seed,
            job=None if row.job is None else str(row.job),
            state=row.state,
            reused=row.reused,
        )
        for row in rows[:limit]
    ]
    return cells, rows[limit - 1].position if limit and len(rows) > limit else None


def paths_of(spec: dict[str, Any]) -> list[str]:
    """List what a stored *spec* varies besides the seed."""
    # Read without validation: a study that newer rules would refuse must not hide all others.
    axes = [path for axis in spec.get("axes", ()) for path in axis]
    return axes + list(spec.get("search", {}).get("space", ()))


def _record(row: Any, counts: dict[str, int], reused: int) -> StudyRecord:
    return StudyRecord(
        id=str(row.id),
        name=row.name,
        owner=row.owner,
        project=row.project,
        state=_state(row, counts),
        created_at=row.created_at,
        cells=sum(counts.values()),
        counts=counts,
        reused=reused,
        paths=paths_of(row.spec),
        reason=row.reason,
        trashed_at=row.trashed_at,
        note=row.note,
        tags=row.tags,
        archived_at=row.archived_at,
    )


def _state(row: Any, counts: dict[str, int]) -> str:
    if row.cancelling:
        return "cancelling"
    if row.state == "active" and counts.get("planned"):
        return "queueing"
    # a search and a study that decides say themselves when they are complete
    full = counts.get("succeeded", 0) == sum(counts.values())
    if full and row.state != "cancelled" and not {"search", "decide"} & set(row.spec):
        return "complete"
    return str(row.state)
