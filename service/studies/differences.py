"""All rows of a study against a reference value of one axis, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from normlab.presentation.digits import shown
from normlab.presentation.intervals import paired_difference
from normlab.presentation.paired_tests import excluded_of, holm, paired_t, said
from normlab.records import DifferenceRow, DifferenceTable, ResultRow
from normlab.records.results import half_width
from service.store.database import Database
from service.studies.cell_values import Question
from service.studies.comparisons import check_labels, linked_with, shared
from service.studies.results import results

Pair = tuple[ResultRow, ResultRow]


def differences(
    database: Database,
    study: str,
    question: Question,
    axis: str,
    against: str,
    where: Mapping[str, str] | None = None,
) -> DifferenceTable:
    """
    Subtract from each row the row with the value *against* on *axis* that is otherwise equal.

    The tests of all these rows are one family, so a narrower *where* asks fewer questions. Rows
    without a seed in common with their reference are not listed; those for which all common seeds
    are NaN or infinite on one side are named in `left_out`.

    Raises:
        NotFound: no such study.
        InvalidSpec: *axis*, *against* or a label of *where* is unknown.
    """
    table = results(database, study, question, where=where)
    check_labels(table, axis, [against])
    labels = list(dict.fromkeys(row.labels[axis] for row in table.rows))
    linked = linked_with(database, table, axis, labels)
    pairs = _pairs(table.rows, (axis, *linked), against)
    return DifferenceTable(
        study=study,
        metric=question.metric,
        axis=axis,
        linked=linked,
        against=against,
        where=dict(where or {}),
        rows=_tested([pair for pair in pairs if shared(*pair)], question),
        left_out=[said(*pair) for pair in pairs if not shared(*pair) and excluded_of(*pair)],
    )


def _pairs(rows: Sequence[ResultRow], moving: Sequence[str], against: str) -> list[Pair]:
    def rest(row: ResultRow) -> str:
        return str([(k, v) for k, v in row.labels.items() if k not in moving])

    references = {rest(row): row for row in rows if row.labels[moving[0]] == against}
    found = [(row, references.get(rest(row))) for row in rows]
    return [(row, other) for row, other in found if other is not None and other is not row]


def _tested(pairs: Sequence[Pair], question: Question) -> list[DifferenceRow]:
    ps = [paired_t(_by_seed(row, other)) for row, other in pairs]
    found = [
        _row(row, other, question, p, adjusted)
        for (row, other), p, adjusted in zip(pairs, ps, holm(ps), strict=True)
    ]
    halves = [(row.mean, half_width(row.low, row.high)) for row in found]
    texts = shown(halves, question.metric, [one.mean for pair in pairs for one in pair])
    return [
        row.model_copy(update={"mean_text": text.mean})
        for row, text in zip(found, texts, strict=True)
    ]


def _by_seed(row: ResultRow, other: ResultRow) -> list[float]:
    return [row.values[seed] - other.values[seed] for seed in shared(row, other)]


def _row(
    row: ResultRow, other: ResultRow, question: Question, p: float | None, adjusted: float | None
) -> DifferenceRow:
    found = paired_difference(row.values, other.values, question.interval, question.confidence)
    return DifferenceRow(
        labels=row.labels,
        n=found.n,
        excluded=excluded_of(row, other),
        mean=found.mean,
        low=found.low,
        high=found.high,
        p=p,
        p_adjusted=adjusted,
    )
