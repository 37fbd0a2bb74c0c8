"""The grid of a study: its cells are checked, stored and queued."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.errors import InvalidSpec, told
from normlab.specs.cells import Cell
from normlab.specs.exclusions import problems_of
from normlab.specs.studies import StudySpec
from service.jobs.placement import Check, PlaceOf
from service.store import schema
from service.store.bulk import insert_rows
from service.studies.queueing import queue_slice

_KEYS = text("select key from study_cell where study = :study")
_FINISHED = text("""
    select distinct on (fingerprint) fingerprint, id from job
    where owner = :owner and project = :project and state = 'succeeded' and trashed_at is null
        and fingerprint = any(:keys)
    order by fingerprint, created_at
""")
_PLAN = text("update study set planned = planned + :more where id = :study returning *")

_MOST_NAMED = 20


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


def refuse_rules_about_no_axis(study: StudySpec) -> None:
    """Raise InvalidSpec with the fields in rules of `exclude` that *study* does not vary."""
    problems = list(islice(problems_of(study.exclude, study.paths), _MOST_NAMED))
    if problems:
        raise InvalidSpec.of(problems)


def add_cells(
    connection: Connection, row: Any, cells: Sequence[Cell], place: PlaceOf, *, reuse: bool
) -> int:
    """
    Add those of *cells* that are new to the study of *row*; return how many of them will run.

    The first ones are queued at once, the others are planned.

    Args:
        row: the study, locked, with its current specification.
        reuse: use jobs of the study's owner in its project that have already computed a cell.
    """
    keys = connection.execute(_KEYS, {"study": row.id}).scalars()
    known = set(keys)
    new = [cell for cell in cells if cell.key not in known]
    filled = finished_jobs(connection, row.owner, row.project, new) if reuse else {}
    insert_rows(
        connection,
        schema.study_cell,
        [
            {
                "study": row.id,
                "key": cell.key,
                "position": len(known) + i,
                "coordinates": cell.coordinates,
                "seed": cell.seed,
                "job": filled.get(cell.key),
                "reused": cell.key in filled,
            }
            for i, cell in enumerate(new)
        ],
    )
    more = len(new) - len(filled)
    if more:
        planned = connection.execute(_PLAN, {"study": row.id, "more": more}).one()
        queue_slice(connection, planned, place)
    return more


def finished_jobs(
    connection: Connection, owner: str, project: str, cells: Sequence[Cell]
) -> dict[str, UUID]:
    """Find succeeded jobs of *owner* in *project* that have already computed *cells*."""
    keys = [cell.key for cell in cells]
    rows = connection.execute(_FINISHED, {"owner": owner, "project": project, "keys": keys})
    return {row.fingerprint: row.id for row in rows}
