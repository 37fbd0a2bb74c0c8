"""The spread around a mean, and the range of an axis, which small samples must not stretch."""

from __future__ import annotations

from typing import Optional, Sequence, Tuple

from normlab.errors import FieldProblem, InvalidSpec
from normlab.records import ResultRow, ResultTable

SPREADS = ("interval", "sd", "range", "none")
Ends = Tuple[float, float]
_FEW = 2  # seeds; Student's interval then extends 12.7 standard errors to each side
_MARGIN = 0.06


def check_spread(spread: str) -> None:
    """Raise InvalidSpec unless *spread* is one of SPREADS."""
    if spread not in SPREADS:
        rule = f"{spread!r} is not one of {', '.join(SPREADS)}"
        raise InvalidSpec(f"spread: {rule}", [FieldProblem("spread", rule)])


def ends(row: ResultRow, spread: str) -> Optional[Ends]:
    """
    Return the lower and the upper end of the spread around the mean of *row*.

    interval: that of the table; sd: mean -+ standard deviation; range: smallest and largest seed.
    None if there is nothing to draw: `none`, or one seed.
    """
    if row.mean is None or row.n < _FEW or spread == "none":
        return None
    if spread == "range":
        return min(row.values.values()), max(row.values.values())
    if spread == "sd":
        return None if row.sd is None else (row.mean - row.sd, row.mean + row.sd)
    return None if row.low is None or row.high is None else (row.low, row.high)


def words(table: ResultTable, spread: str) -> str:
    """Name the spread around a mean; empty for `none`."""
    kind = {"t": "Student's t", "bootstrap": "bootstrap"}.get(table.interval, table.interval)
    return {
        "interval": f"{100 * table.confidence:g} % interval ({kind})",
        "sd": "standard deviation",
        "range": "smallest to largest seed",
    }.get(spread, "")


def reach(rows: Sequence[ResultRow], spread: str) -> Optional[Ends]:
    """
    Return the range of an axis for *rows*; None without a value.

    It covers every mean, every seed's value, and the spread around means, except for intervals of
    two seeds. These are cut at the edge, because they would flatten everything else to a line.
    """
    numbers = [value for row in rows for value in row.values.values()]
    numbers += [row.mean for row in rows if row.mean is not None]
    for row in rows:
        found = ends(row, spread)
        if found is not None and not _is_wide(row, spread):
            numbers += found
    if not numbers:
        return None
    low, high = min(numbers), max(numbers)
    margin = _MARGIN * (high - low) or abs(high) * _MARGIN or _MARGIN
    return low - margin, high + margin


def cut(rows: Sequence[ResultRow], spread: str) -> int:
    """Count the intervals of two seeds that reach beyond the axis."""
    view = reach(rows, spread)
    if view is None:
        return 0
    wide = [ends(row, spread) for row in rows if _is_wide(row, spread)]
    return sum(found is not None and (found[0] < view[0] or found[1] > view[1]) for found in wide)


def note(rows: Sequence[ResultRow], spread: str) -> str:
    """Say which intervals are cut, and what helps; empty if none is."""
    few = cut(rows, spread)
    if few == 0:
        return ""
    of = "1 interval of two seeds is" if few == 1 else f"{few} intervals of two seeds are"
    return f"{of} cut at the edge; a third seed would narrow {'it' if few == 1 else 'them'}"


def _is_wide(row: ResultRow, spread: str) -> bool:
    return spread == "interval" and row.n == _FEW
