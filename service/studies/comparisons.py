"""Two values of one axis of a study, compared seed by seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normlab.errors import FieldProblem, InvalidSpec
from normlab.presentation.intervals import paired_difference
from normlab.presentation.paired_tests import excluded_of, said
from normlab.records import ComparisonRow, ComparisonTable, ResultRow, ResultTable
from service.store.database import Database
from service.studies import details
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
    pairs = list(_pairs(table.rows, (axis, *linked), a, b))
    rows = [_row(*pair, (axis, *linked), question) for pair in pairs if shared(*pair)]
    left_out = [said(*pair) for pair in pairs if not shared(*pair) and excluded_of(*pair)]
    if not rows and left_out:
        rule = f"have no seed with a finite value on both sides: {'; '.join(left_out[:3])}"
        raise InvalidSpec(f"{a} and {b} {rule}")
    if not rows:
        raise InvalidSpec(f"{a} and {b} have no finished seed in common yet; wait, or complete")
    return ComparisonTable(
        study=study, metric=question.metric, axis=axis, linked=linked, a=a, b=b, rows=rows,
        left_out=left_out,
    )  # fmt: skip


def shared(row: ResultRow, other: ResultRow) -> list[int]:
    """List the seeds with a finite value in both."""
    return sorted(set(row.values) & set(other.values))


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
    moving = _moving_with(details.factors(database, table.study), axis)
    return [path for path in moving if _follows(table.rows, axis, path, names)]


def _moving_with(factors: Sequence[Sequence[str]], axis: str) -> list[str]:
    return [path for factor in factors if axis in factor for path in factor if path != axis]


def _follows(rows: Sequence[ResultRow], axis: str, path: str, names: Sequence[str]) -> bool:
    """Whether the value of *axis* determines that of *path*."""
    return all(len({r.labels[path] for r in rows if r.labels[axis] == name}) == 1 for name in names)


def _pairs(
    rows: Sequence[ResultRow], moving: Sequence[str], a: str, b: str
) -> Iterator[tuple[ResultRow, ResultRow]]:
    def rest(row: ResultRow) -> str:
        return str(sorted((k, v) for k, v in row.labels.items() if k not in moving))

    axis = moving[0]
    others = {rest(row): row for row in rows if row.labels[axis] == b}
    for row in rows:
        if row.labels[axis] == a and rest(row) in others:
            yield row, others[rest(row)]


def _row(
    row: ResultRow, other: ResultRow, moving: Sequence[str], question: Question
) -> ComparisonRow:
    found = paired_difference(row.values, other.values, question.interval, question.confidence)
    return ComparisonRow(
        coordinates={k: v for k, v in row.coordinates.items() if k not in moving},
        labels={k: v for k, v in row.labels.items() if k not in moving},
        n=found.n,
        excluded=excluded_of(row, other),
        a_mean=sum(row.values[s] for s in shared(row, other)) / found.n,
        b_mean=sum(other.values[s] for s in shared(row, other)) / found.n,
        difference=found.mean,
        sd=found.sd,
        low=found.low,
        high=found.high,
    )
