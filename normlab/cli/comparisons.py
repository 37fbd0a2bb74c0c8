"""Print how two values of a study's axis compare, seed by seed, and what a study has decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Sequence

from normlab.cli.output import print_json, print_table
from normlab.counting import measured
from normlab.errors import InvalidSpec
from normlab.not_finite import tallied

if TYPE_CHECKING:
    from normlab.records import ComparisonRow, ComparisonTable

if TYPE_CHECKING:
    from normlab.records.decisions import DecisionRow, DecisionTable

LABELS = {"labels", "coordinates"}
"""The fields of a row that identify it, as opposed to its numbers."""


def print_comparison(
    client: Any, study: str, parts: Sequence[str], question: Any, as_json: bool
) -> None:
    """Print a table of the differences of two values; *parts*: an axis and two labels."""
    from normlab.presentation.digits import like, shown

    if len(parts) != 3:
        given = ":".join(parts)
        raise InvalidSpec(f"--compare {given}: write AXIS:A:B, such as normalizer:batch:online")
    table = client.studies.compare(study, *parts, **question)
    if as_json:
        print_json(table, records_of(table.rows))
        return
    if table.linked:
        print(f"{', '.join(table.linked)} varies together with {table.axis}")
    means = [mean for r in table.rows for mean in (r.a_mean, r.b_mean)]
    differences = shown([(r.difference, r.half) for r in table.rows], table.metric, means)
    rows = [
        [
            *r.labels.values(),
            like(d, r.a_mean),
            like(d, r.b_mean),
            str(d),
            *(None if end is None else like(d, end) for end in (r.low, r.high)),
            seeds(r),
            _better(table, r),
        ]
        for r, d in zip(table.rows, differences)
    ]
    paths = list(table.rows[0].labels)
    columns = [*paths, table.a, table.b, "difference", "low", "high", "n", "better"]
    print_table(columns, rows, spare=["low", "high"])
    for one in table.left_out:
        print(f"without a difference: {one}")


def seeds(row: ComparisonRow) -> Any:
    """Return the number of seeds of a difference, with those that it leaves out: `2 (1 NaN)`."""
    return f"{row.n} ({tallied(row.excluded.values())})" if row.excluded else row.n


def _better(table: ComparisonTable, row: ComparisonRow) -> str:
    """Name the better value if the interval excludes 0; the metric decides what is better."""
    from normlab.presentation.intervals import smaller_is_better

    if row.n == 1:
        return "not clear: one seed"
    if row.excluded or row.low is None or row.high is None or row.low <= 0 <= row.high:
        return "not clear"  # leaving out a diverged seed must not make a value better
    return table.a if (row.low > 0) != smaller_is_better(table.metric) else table.b


def records_of(rows: Sequence[Any]) -> List[Dict[str, Any]]:
    """Return *rows* as plain records, each with its labels as fields."""
    plain = [row.model_dump(mode="json", exclude=LABELS) for row in rows]
    return [{**row.labels, **numbers} for row, numbers in zip(rows, plain)]


def print_verdicts(table: DecisionTable) -> None:
    """Print the number of each verdict, then each comparison, and how its interval narrowed."""
    said = ", ".join(f"{n} {word}" for word, n in sorted(table.counts.items()))
    by = measured(table.metric, table.by, "g")
    print(f"{table.metric}, by {by}, power {table.power:g}: {said}")
    rows = [
        [row.verdict, _place(row), row.words, _narrowing(row, table.metric)] for row in table.rows
    ]
    print_table(["verdict", "where", "found", "interval"], rows, spare=["interval", "where"])


def _place(row: DecisionRow) -> str:
    return ", ".join(f"{path} = {name}" for path, name in row.labels.items())


def _narrowing(row: DecisionRow, metric: str) -> str:
    parts: List[str] = [
        f"{look.seeds}: [{measured(metric, look.low, '.2g')}, {measured(metric, look.high, '.2g')}]"
        for look in row.looks
        if look.low is not None and look.high is not None
    ]
    return "  ".join(parts)
