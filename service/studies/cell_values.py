"""The cells of a study for its results: coordinates, state of the job, and value."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import Connection, text

from normlab.errors import FieldProblem, InvalidSpec
from normlab.not_finite import Name, name_of
from normlab.presentation.intervals import Method, smaller_is_better
from normlab.specs.cells import Coordinates
from normlab.specs.decisions import REDUCTION, REDUCTION_RULE
from normlab.specs.measures import is_timing
from service.results import metrics
from service.store.database import Database
from service.store.identity import parse_id

_VALUES = text("""
    select c.key, c.coordinates, c.seed, c.job, l.value, l.min, l.max,
        l.job is not null as reported,
        case when j.state = 'succeeded' and :timing and not j.timing_valid
                then case when j.packed is null then 'emulated' else 'packed' end
            when j.state = 'cancelled' and c.pruned then 'pruned'
            else coalesce(j.state, 'missing') end as state
    from study_cell c
    left join job j on j.id = c.job
    left join metric_last l on l.job = c.job
        and l.key = (select id from metric_key where name = :metric)
    where c.study = :study order by c.position
""")
_REPORTED = text("""
    select distinct k.name from study_cell c
    join metric_last l on l.job = c.job join metric_key k on k.id = l.key
    where c.study = :study order by 1
""")


@dataclass(frozen=True)
class Question:
    """Which value to take from each job, and how to summarize it over seeds."""

    metric: str = "val/accuracy"
    reduction: str = "last"
    interval: Method = "t"
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not REDUCTION.fullmatch(self.reduction):
            rule = f"{self.reduction!r} is not {REDUCTION_RULE}"
            raise InvalidSpec.of([FieldProblem("reduction", rule)])


@dataclass(frozen=True)
class CellValue:
    """A cell, the state of its job, and its value if there is one."""

    key: str
    coordinates: Coordinates
    seed: int
    job: str | None
    state: str
    value: float | None
    """Finite; None otherwise."""
    why: str
    """Why there is none: the state, not reported, or the name of NaN or infinity; or empty."""
    excluded: Name | None = None
    """The name, if the value is NaN or infinite."""


def read(database: Database, study: str, question: Question) -> list[CellValue]:
    """
    Read every cell of *study* with the value that *question* asks for.

    Raises:
        InvalidSpec: jobs have reported metrics, but none has reported this one.
    """
    key = parse_id(study, "study")
    with database.begin() as connection:
        asked = {"metric": question.metric, "timing": is_timing(question.metric)}
        rows = connection.execute(_VALUES, {"study": key, **asked}).all()
        if rows and all(row.value is None for row in rows):
            _refuse_unknown_metric(connection, key, question.metric)
    return list(_cells(database, rows, question))


def _cells(database: Database, rows: Sequence[Any], question: Question) -> Iterator[CellValue]:
    for row in rows:
        value, why, name = None, row.state, None
        if row.state == "succeeded" and row.reported:
            value = _number(database, row, question)
            name = name_of(value)
            value, why = (None, str(name)) if name else (value, "")
        elif row.state == "succeeded":
            why = "not reported"
        job = None if row.job is None else str(row.job)
        yield CellValue(row.key, row.coordinates, row.seed, job, row.state, value, why, name)


def _refuse_unknown_metric(connection: Connection, study: UUID, metric: str) -> None:
    known = [row.name for row in connection.execute(_REPORTED, {"study": study})]
    if known and metric not in known:
        near = difflib.get_close_matches(metric, known, n=3, cutoff=0.3) or known[:5]
        rule = f"no job of this study reported {metric!r}; the nearest are {', '.join(near)}"
        raise InvalidSpec.of([FieldProblem("metric", rule)])


def _number(database: Database, row: Any, question: Question) -> float:
    if question.reduction == "last":
        found = row.value
    elif question.reduction == "best":
        found = row.min if smaller_is_better(question.metric) else row.max
    else:
        found = _reduced(database, str(row.job), question)
    return float(found)


def _reduced(database: Database, job: str, question: Question) -> float:
    series = metrics.read_arrays(database, job, question.metric)
    steps, values = series["steps"].astype(float), series["values"]
    if question.reduction == "area":  # mean height under the curve: the same unit as the metric
        if len(steps) == 1:
            return float(values[0])
        return float(np.trapezoid(values, steps) / (steps[-1] - steps[0]))
    return float(values[-int(question.reduction.split(":")[1]) :].mean())
