"""Two values of one axis of a study, compared seed by seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normlab.errors import FieldProblem, InvalidSpec
from normlab.presentation.intervals import paired_difference
from normlab.records import ComparisonRow, ComparisonTable, ResultRow, ResultTable
from service.store.database import Database
from service.studies import studies
from service.studies.cell_values import Question
from service.studies.results import results


def compare(
    database: Database, study: str, question: Question, axis: str, a: str, b: str
) -> ComparisonTable:
    """
    Compare two values of *axis*, named by their labels, seed by seed: a minus b.

    Everything else is equal, except the paths that vary together with the axis: `linked`.

    Raises:
        NotFound: no such study.
        InvalidSpec: *axis* or a label is unknown, or they share no finished seed anywhere.
    """
    table = results(database, study, question)
    check_labels(table, axis, (a, b))
    linked = linked_with(database, table, axis, (a, b))
    rows = list(_comparisons(table.rows, (axis, *linked), a, b, question))
    if not rows:
        raise InvalidSpec(f"{a} and {b} have no finished seed in common yet; wait, or complete")
    return ComparisonTable(
        study=study, metric=question.metric, axis=axis, linked=linked, a=a, b=b, rows=rows
    )


def check_labels(table: ResultTable, axis: str, names: Sequence[str]) -> None:
    """Raise InvalidSpec unless the study varies *axis*, and these are labels of its values."""
    if axis not in table.group_by:
        rule = f"the study does not vary {axis!r}: use one of {', '.join(table.group_by)}"
        raise InvalidSpec(rule, [FieldProblem("axis", rule)])
    labels = list(dict.fromkeys(row.labels[axis] for row in table.rows))
    for name in names:
        if name not in labels:
            rule = f"no value {name!r}: use one of {', '.join(labels)}"
            raise InvalidSpec(f"{axis} has {rule}", [FieldProblem(axis, f"it has {rule}")])


def linked_with(
    database: Database, table: ResultTable, axis: str, names: Sequence[str]
) -> list[str]:
    """List the paths that vary with *axis*, of which each of these values has one value."""
    moving = _moving_with(studies.factors(database, table.study), axis)
    return [path for path in moving if _follows(table.rows, axis, path, names)]


def _moving_with(factors: Sequence[Sequence[str]], axis: str) -> list[str]:
    return [path for factor in factors if axis in factor for path in factor if path != axis]


def _follows(rows: Sequence[ResultRow], axis: str, path: str, names: Sequence[str]) -> bool:
    """Whether the value of *axis* determines that of *path*."""
    return all(len({r.labels[path] for r in rows if r.labels[axis] == name}) == 1 for name in names)


def _comparisons(
    rows: Sequence[ResultRow], moving: Sequence[str], a: str, b: str, question: Question
) -> Iterator[ComparisonRow]:
    def rest(row: ResultRow) -> str:
        return str(sorted((k, v) for k, v in row.labels.items() if k not in moving))

    axis = moving[0]
    others = {rest(row): row for row in rows if row.labels[axis] == b}
    for row in rows:
        other = others.get(rest(row)) if row.labels[axis] == a else None
        if other is None or not set(row.values) & set(other.values):
            continue
        found = paired_difference(row.values, other.values, question.interval, question.confidence)
        shared = sorted(set(row.values) & set(other.values))
        yield ComparisonRow(
            coordinates={k: v for k, v in row.coordinates.items() if k not in moving},
            labels={k: v for k, v in row.labels.items() if k not in moving},
            n=found.n,
            a_mean=sum(row.values[s] for s in shared) / found.n,
            b_mean=sum(other.values[s] for s in shared) / found.n,
            difference=found.mean,
            sd=found.sd,
            low=found.low,
            high=found.high,
        )
