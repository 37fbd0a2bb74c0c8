"""What a study found: one number a cell, grouped over seeds, compared in pairs."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import orjson
from sqlalchemy import Connection, text

from normlab.errors import FieldProblem, InvalidSpec
from normlab.intervals import Method, estimate, paired_difference
from normlab.records import ComparisonRow, ComparisonTable, ResultRow, ResultTable
from normlab.specs.cells import Coordinates, label
from service import metrics, studies
from service.database import Database
from service.identity import parse_id

_VALUES = text("""
    select c.coordinates, c.seed, c.job, l.value, l.min, l.max,
        case when j.state = 'succeeded' and :timing and not j.timing_valid then 'emulated'
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
_REDUCTION = re.compile(r"last|best|area|mean_last:([1-9]\d{0,5})")
_SMALLER_IS_BETTER = ("loss", "error", "perplexity", "time/")


@dataclass(frozen=True)
class Question:
    """Which number to take of each job, and how to sum it up over seeds."""

    metric: str = "val/accuracy"
    reduction: str = "last"
    interval: Method = "t"
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not _REDUCTION.fullmatch(self.reduction):
            rule = "one of last, best, area, mean_last:K (K points)"
            raise InvalidSpec(
                f"reduction={self.reduction!r} is none: {rule}", [FieldProblem("reduction", rule)]
            )

    @property
    def smaller_is_better(self) -> bool:
        """Whether the best value of the metric is its smallest."""
        return any(word in self.metric for word in _SMALLER_IS_BETTER)


@dataclass(frozen=True)
class _Value:
    coordinates: Coordinates
    seed: int
    job: str | None
    state: str
    value: float | None


def results(
    database: Database, study: str, question: Question, group_by: Sequence[str] | None = None
) -> ResultTable:
    """
    Tabulate a study: a row for each combination of *group_by*, by default of all its paths.

    With `seed` among *group_by*, a row a job. Only jobs that succeeded have a value; the
    others are counted in `failed`, and their states are in the row. Of a timing, a job that was
    emulated has none either: its state is `emulated`.

    Raises:
        NotFound: no such study.
        InvalidSpec: a path that the study does not vary, or a metric that nobody reported.
    """
    paths = studies.paths(database, study)
    chosen = _chosen_paths(paths, group_by)
    rows = [
        _row(coordinates, group, question)
        for coordinates, group in _grouped(_values(database, study, question), chosen)
    ]
    return ResultTable(
        study=study,
        metric=question.metric,
        reduction=question.reduction,
        interval=question.interval,
        confidence=question.confidence,
        group_by=chosen,
        rows=rows,
    )


def compare(
    database: Database, study: str, question: Question, axis: str, a: str, b: str
) -> ComparisonTable:
    """
    Compare two values of *axis*, named by their labels, seed by seed: a minus b.

    Raises:
        NotFound: no such study.
        InvalidSpec: *axis* or a label is unknown, or they share no finished seed anywhere.
    """
    paths = studies.paths(database, study)
    _chosen_paths(paths, [axis])
    table = results(database, study, question, paths)
    labels = list(dict.fromkeys(row.labels[axis] for row in table.rows))
    for name in (a, b):
        if name not in labels:
            rule = f"one of {', '.join(labels)}"
            raise InvalidSpec(f"{axis} has no value {name!r}: {rule}", [FieldProblem(axis, rule)])
    rows = list(_comparisons(table.rows, axis, a, b, question))
    if not rows:
        raise InvalidSpec(f"{a} and {b} have no finished seed in common yet; wait, or complete")
    return ComparisonTable(study=study, metric=question.metric, axis=axis, a=a, b=b, rows=rows)


def _values(database: Database, study: str, question: Question) -> list[_Value]:
    key = parse_id(study, "study")
    with database.begin() as connection:
        asked = {"metric": question.metric, "timing": metrics.is_timing(question.metric)}
        rows = connection.execute(_VALUES, {"study": key, **asked}).all()
        if rows and all(row.value is None for row in rows):
            _refuse_unknown_metric(connection, key, question.metric)
    return [
        _Value(
            row.coordinates,
            row.seed,
            None if row.job is None else str(row.job),
            row.state,
            _number(database, row, question) if row.state == "succeeded" else None,
        )
        for row in rows
    ]


def _refuse_unknown_metric(connection: Connection, study: UUID, metric: str) -> None:
    known = [row.name for row in connection.execute(_REPORTED, {"study": study})]
    if known and metric not in known:
        near = difflib.get_close_matches(metric, known, n=3, cutoff=0.3) or known[:5]
        rule = f"no job of this study reported it; nearest: {', '.join(near)}"
        raise InvalidSpec(f"metric {metric!r}: {rule}", [FieldProblem("metric", rule)])


def _number(database: Database, row: Any, question: Question) -> float | None:
    if row.value is None:
        return None
    if question.reduction == "last":
        found = row.value
    elif question.reduction == "best":
        found = row.min if question.smaller_is_better else row.max
    else:
        found = _reduced(database, str(row.job), question)
    return float(found) if math.isfinite(found) else None


def _reduced(database: Database, job: str, question: Question) -> float:
    series = metrics.read(database, job, question.metric)
    steps = np.asarray(series.steps, dtype=float)
    values = np.asarray([math.nan if v is None else v for v in series.values], dtype=float)
    if question.reduction == "area":  # mean height under the curve: the same unit as the metric
        if len(steps) == 1:
            return float(values[0])
        return float(np.trapezoid(values, steps) / (steps[-1] - steps[0]))
    return float(values[-int(question.reduction.split(":")[1]) :].mean())


def _chosen_paths(paths: Sequence[str], group_by: Sequence[str] | None) -> list[str]:
    if group_by is None:
        return list(paths)
    for path in group_by:
        if path not in (*paths, "seed"):
            rule = f"one of {', '.join((*paths, 'seed'))}"
            raise InvalidSpec(
                f"the study does not vary {path!r}: {rule}", [FieldProblem("group_by", rule)]
            )
    return list(group_by)


def _grouped(
    values: Sequence[_Value], paths: Sequence[str]
) -> Iterator[tuple[Coordinates, list[_Value]]]:
    groups: dict[bytes, tuple[Coordinates, list[_Value]]] = {}
    for value in values:
        all_of_it = {**value.coordinates, "seed": value.seed}
        coordinates = {path: all_of_it.get(path) for path in paths}
        key = orjson.dumps(coordinates, option=orjson.OPT_SORT_KEYS)
        groups.setdefault(key, (coordinates, []))[1].append(value)
    yield from groups.values()


def _row(coordinates: Coordinates, group: Sequence[_Value], question: Question) -> ResultRow:
    known = [v for v in group if v.value is not None]
    pooled = len({v.seed for v in group}) < len(group)
    single = [] if pooled else group  # by seed alone, one cell would hide another
    numbers = [v.value for v in known if v.value is not None]
    found = estimate(numbers, question.interval, question.confidence) if numbers else None
    return ResultRow(
        coordinates=coordinates,
        labels={path: label(value) for path, value in coordinates.items()},
        n=len(known),
        failed=len(group) - len(known),
        mean=found.mean if found else None,
        sd=found.sd if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        values={v.seed: v.value for v in single if v.value is not None},
        jobs={v.seed: v.job for v in single if v.job is not None},
        states={v.seed: v.state for v in single},
    )


def _comparisons(
    rows: Sequence[ResultRow], axis: str, a: str, b: str, question: Question
) -> Iterator[ComparisonRow]:
    def rest(row: ResultRow) -> str:
        return str(sorted((k, v) for k, v in row.labels.items() if k != axis))

    others = {rest(row): row for row in rows if row.labels[axis] == b}
    for row in rows:
        other = others.get(rest(row)) if row.labels[axis] == a else None
        if other is None or not set(row.values) & set(other.values):
            continue
        found = paired_difference(row.values, other.values, question.interval, question.confidence)
        shared = sorted(set(row.values) & set(other.values))
        yield ComparisonRow(
            coordinates={k: v for k, v in row.coordinates.items() if k != axis},
            labels={k: v for k, v in row.labels.items() if k != axis},
            n=found.n,
            a_mean=sum(row.values[s] for s in shared) / found.n,
            b_mean=sum(other.values[s] for s in shared) / found.n,
            difference=found.mean,
            sd=found.sd,
            low=found.low,
            high=found.high,
        )
