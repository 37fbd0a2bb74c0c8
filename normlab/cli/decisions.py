"""Print what a study has decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, List

from normlab.cli.output import print_table

if TYPE_CHECKING:
    from normlab.records.decisions import DecisionRow, DecisionTable


def print_verdicts(table: DecisionTable) -> None:
    """Print how many of each verdict there are, then each one, and how its interval narrowed."""
    said = ", ".join(f"{n} {word}" for word, n in sorted(table.counts.items()))
    print(f"{table.metric}, by {table.by:g}, power {table.power:g}: {said}")
    rows = [[row.verdict, _place(row), row.words, _narrowing(row)] for row in table.rows]
    print_table(["verdict", "where", "found", "interval"], rows, spare=["interval", "where"])


def _place(row: DecisionRow) -> str:
    return ", ".join(f"{path} = {name}" for path, name in row.labels.items())


def _narrowing(row: DecisionRow) -> str:
    parts: List[str] = [
        f"{look.seeds}: [{look.low:.2g}, {look.high:.2g}]"
        for look in row.looks
        if look.low is not None and look.high is not None
    ]
    return "  ".join(parts)
