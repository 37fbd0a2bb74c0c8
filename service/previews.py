"""What a study would run, before anything does: cells, epochs, time, refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.errors import FieldProblem
from normlab.records import CellRecord, Refusal, StudyPreview
from normlab.specs.cells import Cell, Grid, lay_out
from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec
from service import patience
from service.database import Database
from service.grids import Check, Place, finished_jobs

Steps = Callable[[JobSpec], int | None]
"""How many updates a job makes, where that is known beforehand."""

MOST_REFUSALS = 50
_FIRST = 10

# Medians over what was run before: the same model, data, normalizer and batch; then any like it.
_HISTORY = text("""
    select model, dataset, device, normalizer, batch_size,
        percentile_cont(0.5) within group (order by ran_s / step) as step_s,
        percentile_cont(0.5) within group (order by ran_s / step / samples_per_update) as sample_s
    from job
    where state = 'succeeded' and step > 0 and ran_s > 0 and timing_valid
        and (model, dataset) in (select * from unnest(
            cast(:models as text[]), cast(:datasets as text[])))
    group by grouping sets (
        (model, dataset, device, normalizer, batch_size), (model, dataset, device))
""")


@dataclass(frozen=True)
class _Pace:
    exact: dict[tuple[str, ...], float]
    rough: dict[tuple[str, ...], float]

    def seconds(self, spec: JobSpec, device: str, steps: int | None) -> float | None:
        if steps is None:
            return None
        place = (spec.model.name, spec.dataset.name, device)
        kind = str(spec.normalizer.model_dump()["kind"])
        step_s = self.exact.get((*place, kind, str(spec.batch_size)))
        if step_s is None and place in self.rough:
            step_s = self.rough[place] * spec.samples_per_update
        return None if step_s is None else step_s * steps


def preview(
    database: Database, spec: StudySpec, *, owner: str, place: Place, check: Check, steps: Steps
) -> StudyPreview:
    """
    Say what *spec* would run; nothing is stored.

    Raises:
        InvalidSpec: the grid itself is none; single cells that break a rule are listed.
    """
    layout = Grid([], 0, 0) if spec.search else lay_out(spec, patience.check)
    cells = layout.cells
    problems = _problems(cells, check)
    good = [cell for cell in cells if not problems[cell.key]]
    with database.begin() as connection:
        reusable = finished_jobs(connection, owner, good) if good else {}
        pace = _pace(connection, good)
    reused = reusable if spec.reuse else {}
    to_run = [cell for cell in good if cell.key not in reused]
    counted = [steps(cell.spec) for cell in to_run]
    times = _times(to_run, counted, pace, place)
    known = [t for t in times if t is not None]
    return StudyPreview(
        cells=len(cells) if spec.search is None else spec.search.trials,
        excluded=layout.excluded,
        identical=layout.identical,
        reusable=len(reusable),
        priority=spec.priority,
        epochs=sum(cell.spec.epochs for cell in to_run),
        steps=sum(n for n in counted if n is not None) if None not in counted else None,
        estimated_s=sum(known) * len(times) / len(known) if known else None,
        estimated_from=_source(len(known), len(times)),
        refused=_refusals([c for c in cells if problems[c.key]], problems),
        first=[_shown(cell, reused) for cell in cells[:_FIRST]],
    )


def _problems(cells: Sequence[Cell], check: Check) -> dict[str, Sequence[FieldProblem]]:
    found: dict[str, Sequence[FieldProblem]] = {}
    before: Cell | None = None
    for cell in cells:
        patience.check()
        if before is not None and cell.coordinates is before.coordinates:
            found[cell.key] = found[before.key]  # another seed breaks no other rule
        else:
            found[cell.key] = check(cell.spec)
        before = cell
    return found


def _times(
    cells: Sequence[Cell], steps: Sequence[int | None], pace: _Pace, place: Place
) -> list[float | None]:
    return [
        pace.seconds(cell.spec, place(cell.spec)[0], n)
        for cell, n in zip(cells, steps, strict=True)
    ]


def _pace(connection: Connection, cells: Sequence[Cell]) -> _Pace:
    pairs = sorted({(cell.spec.model.name, cell.spec.dataset.name) for cell in cells})
    values = {"models": [p[0] for p in pairs], "datasets": [p[1] for p in pairs]}
    exact: dict[tuple[str, ...], float] = {}
    rough: dict[tuple[str, ...], float] = {}
    for row in connection.execute(_HISTORY, values):
        where = (row.model, row.dataset, row.device)
        if row.normalizer is None:
            rough[where] = row.sample_s
        else:
            exact[(*where, row.normalizer, str(row.batch_size))] = row.step_s
    return _Pace(exact, rough)


def _source(known: int, cells: int) -> str:
    if cells == 0:
        return "nothing would run"
    if known == 0:
        return "no job like these has finished here yet"
    return f"finished jobs like {known} of the {cells} cells"


def _refusals(cells: Sequence[Cell], problems: Mapping[str, Sequence[object]]) -> list[Refusal]:
    return [
        Refusal(
            coordinates=cell.coordinates,
            problems=[vars(p) for p in problems[cell.key]],
        )
        for cell in cells[:MOST_REFUSALS]
    ]


def _shown(cell: Cell, reused: Mapping[str, UUID]) -> CellRecord:
    return CellRecord(
        key=cell.key,
        coordinates=cell.coordinates,
        seed=cell.seed,
        job=str(reused[cell.key]) if cell.key in reused else None,
        state="succeeded" if cell.key in reused else "missing",
        reused=cell.key in reused,
    )
