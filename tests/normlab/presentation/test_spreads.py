"""The spread around a mean, and an axis that two seeds do not flatten."""

from __future__ import annotations

from typing import Any, Dict

import pytest

from normlab.errors import InvalidSpec
from normlab.presentation.intervals import estimate
from normlab.presentation.spreads import check_spread, cut, ends, note, reach
from normlab.records import ResultRow


def row(*values: float) -> ResultRow:
    found = estimate(values) if values else None
    numbers: Dict[str, Any] = {
        name: getattr(found, name, None) for name in ("mean", "sd", "low", "high")
    }
    return ResultRow(
        coordinates={}, labels={}, n=len(values), failed=0, values=dict(enumerate(values)),
        jobs={}, states={}, **numbers,
    )  # fmt: skip


def test_each_spread_has_its_ends() -> None:
    three = row(0.6, 0.7, 0.8)
    assert ends(three, "range") == (0.6, 0.8)
    assert ends(three, "sd") == pytest.approx((0.6, 0.8))
    assert ends(three, "interval") == pytest.approx((0.7 - 0.24841, 0.7 + 0.24841), abs=1e-5)
    assert ends(three, "none") is None
    assert ends(row(0.5), "range") is None
    assert ends(row(), "interval") is None


def test_the_interval_of_two_seeds_does_not_stretch_the_axis_and_is_told() -> None:
    rows = [row(0.70, 0.72), row(0.80, 0.82)]
    low, high = reach(rows, "interval") or (0.0, 0.0)
    assert (low, high) == pytest.approx((0.70 - 0.06 * 0.12, 0.82 + 0.06 * 0.12))
    assert cut(rows, "interval") == 2
    assert note(rows, "interval").startswith("2 intervals of two seeds are cut")
    assert note(rows, "sd") == note(rows, "none") == ""


def test_the_interval_of_three_seeds_is_wholly_in_the_picture() -> None:
    rows = [row(0.6, 0.7, 0.8), row(0.65, 0.66)]
    low, high = reach(rows, "interval") or (0.0, 0.0)
    found = ends(rows[0], "interval") or (0.0, 0.0)
    assert low < found[0] < found[1] < high


def test_one_value_alone_has_an_axis_and_none_has_not() -> None:
    low, high = reach([row(0.5)], "interval") or (0.0, 0.0)
    assert low < 0.5 < high
    assert reach([row()], "interval") is None
    assert note([row()], "interval") == ""


def test_an_unknown_spread_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidSpec, match="'sem' is not one of interval, sd, range, none"):
        check_spread("sem")
