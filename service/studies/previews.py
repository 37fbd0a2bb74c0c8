"""Preview a study before it runs: cells, epochs, time, refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from normlab.errors import FieldProblem
from normlab.presentation import deciding
from normlab.presentation.judging import Rule
from normlab.records import CellRecord, DecisionCost, Refusal, StudyPreview
from normlab.records.projects import DEFAULT
from normlab.specs.cells import Cell, Grid, lay_out
from normlab.specs.contrasts import comparisons
from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec
from service.jobs.estimates import Pace, total
from service.jobs.pack_measures import measured_gains
from service.jobs.placement import Check, PlaceOf
from service.jobs.priorities import refuse_priority
from service.store import patience
from service.store.database import Database
from service.studies.decider import first_look
from service.studies.grids import finished_jobs, refuse_rules_about_no_axis
from service.studies.packs import planned_packs, refuse_unpackable
from service.studies.spaces import corners, refuse_wrong_space

Steps = Callable[[JobSpec], int | None]
"""Return the number of updates of a job, if it is known in advance."""

MOST_REFUSALS = 50
_FIRST = 10


def preview(
    database: Database,
    spec: StudySpec,
    *,
    owner: str,
    project: str = DEFAULT,
    place: PlaceOf,
    check: Check,
    steps: Steps,
) -> StudyPreview:
    """
    Return the preview of *spec*; store nothing.

    Raises:
        InvalidSpec: the grid itself or a rule of `exclude` is invalid, or its priority too high.
            (Cells that break a rule are listed instead.)
    """
    refuse_rules_about_no_axis(spec)
    refuse_wrong_space(spec, check)
    refuse_unpackable(spec)
    # a search is estimated from its two extreme trials, because its later trials are not known yet
    layout = Grid(corners(spec), 0, 0) if spec.search else lay_out(spec, patience.check)
    cells = layout.cells
    problems = _problems(cells, check)
    good = [cell for cell in cells if not problems[cell.key]]
    bad = [cell for cell in cells if problems[cell.key]]
    with database.begin() as connection:
        refuse_priority(connection, owner, project, spec, cells)
        looks = good if not spec.search else []
        reusable = finished_jobs(connection, owner, project, looks) if looks else {}
        pace = Pace(connection, [cell.spec for cell in good])
        reused = reusable if spec.reuse else {}
        to_run = [cell for cell in good if cell.key not in reused]
        packs = planned_packs(spec, to_run, place, partial(measured_gains, connection))
    stands_for = spec.search.trials / len(cells) if spec.search else 1.0
    return StudyPreview(
        cells=len(cells) if spec.search is None else spec.search.trials,
        excluded=layout.excluded,
        identical=layout.identical,
        idle_rules=[dict(rule) for rule in layout.idle_rules],
        reusable=len(reusable),
        priority=spec.priority,
        refused_cells=len(bad),
        refused=_refusals(bad, problems),
        first=[] if spec.search else [_shown(cell, reused) for cell in cells[:_FIRST]],
        decision=_cost(spec, good, pace, place, steps) if len(good) == len(cells) else None,
        **_work(to_run, stands_for, pace, place, steps),
        **packs,
    )


def _cost(
    spec: StudySpec, cells: Sequence[Cell], pace: Pace, place: PlaceOf, steps: Steps
) -> DecisionCost | None:
    decide = spec.decide
    if decide is None:
        return None
    every = comparisons(spec, cells)
    keys = {key for c in every for side in (c.cells, c.others) for key in side.values()}
    compared = [cell for cell in cells if cell.key in keys]
    looks = deciding.sizes(first_look(spec, decide), decide.at_most)
    costs: dict[str, Any] = {}
    for word, n in (("least", looks[0]), ("most", decide.at_most)):
        work = _work(compared, n / len(spec.seeds), pace, place, steps)
        costs |= {
            f"{word}_cells": round(len(compared) * n / len(spec.seeds)),
            f"{word}_epochs": work["epochs"],
            f"{word}_s": work["estimated_s"],
            f"{word}_estimate": work["estimate"],
        }
    rule = Rule(decide.by, decide.power, decide.at_most)
    largest = deciding.largest_sd(looks, rule, len(every))
    return DecisionCost(comparisons=len(every), largest_sd=largest, **costs)


def _work(
    cells: Sequence[Cell], stands_for: float, pace: Pace, place: PlaceOf, steps: Steps
) -> dict[str, Any]:
    """Summarize *cells*, where each represents a number of jobs."""
    counted = [steps(cell.spec) for cell in cells]
    time = total(
        [pace.of(c.spec, place(c.spec)[0], n) for c, n in zip(cells, counted, strict=True)],
        stands_for,
    )
    return {
        "epochs": round(sum(cell.spec.epochs for cell in cells) * stands_for),
        "steps": _all(counted, stands_for),
        "estimated_s": time.seconds,
        "estimated_from": time.source,
        "estimate": time.words,
    }


def _problems(cells: Sequence[Cell], check: Check) -> dict[str, Sequence[FieldProblem]]:
    found: dict[str, Sequence[FieldProblem]] = {}
    before: Cell | None = None
    for cell in cells:
        patience.check()
        if before is not None and cell.coordinates is before.coordinates:
            found[cell.key] = found[before.key]  # the seed does not affect the rules
        else:
            found[cell.key] = check(cell.spec)
        before = cell
    return found


def _all(counted: Sequence[int | None], stands_for: float) -> int | None:
    known = [n for n in counted if n is not None]
    return round(sum(known) * stands_for) if len(known) == len(counted) else None


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
