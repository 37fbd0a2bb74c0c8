"""
The digits of a mean: as many as its uncertainty allows.

A mean is rounded to the second digit of its half width; further digits say nothing. Without an
interval, or if all seeds are equal, it has at least four digits (three with a half width of 0), and
as many decimals as distinguish it from the other such means of the table, up to six significant
digits: means that agree in those are equal.
"""

from __future__ import annotations

import math
from typing import Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

_LEAST = 3
_LEAST_ALONE = 4
_MOST = 6
_OF_HALF = 2
_PLAIN = (1e-4, 1e7)  # numbers outside are written with an exponent
_MOST_DECIMALS = 12


class Shown(NamedTuple):
    """A mean and half the width of its interval as text; empty if there is none."""

    mean: str
    half: str

    def __str__(self) -> str:
        """Join both: `0.915 ± 0.004`."""
        return f"{self.mean} ± {self.half}" if self.half else self.mean


def shown(rows: Sequence[Tuple[Optional[float], Optional[float]]]) -> List[Shown]:
    """Write the means of one table, each with its half width."""
    apart = decimals_apart(mean for mean, half in rows if mean is not None and not half)
    return [_shown(mean, half, apart) for mean, half in rows]


def like(text: Shown, value: float) -> str:
    """Write *value* with as many decimals as the mean of *text* has."""
    if "e" in text.mean:
        return f"{value:.{_LEAST - 1}e}"
    return _fixed(value, len(text.mean.partition(".")[2]))


def of_none(excluded: Mapping[int, str]) -> str:
    """Write in place of a mean what the values of all seeds are, if none is finite."""
    return ", ".join(dict.fromkeys(excluded.values()))


def decimals_apart(means: Iterable[float]) -> int:
    """Return the fewest decimals at which *means* that differ in six digits look different."""
    distinct = np.array(sorted({float(f"{mean:.{_MOST - 1}e}") for mean in means}))
    for decimals in range(_MOST_DECIMALS):
        differ = np.diff(distinct.round(decimals)).all()  # quick, for thousands of rows
        if differ and len({f"{mean:.{decimals}f}" for mean in distinct}) == len(distinct):
            return decimals
    return _MOST_DECIMALS


def _shown(mean: Optional[float], half: Optional[float], apart: int) -> Shown:
    if mean is None:
        return Shown("", "")
    if not math.isfinite(mean):
        return Shown(str(mean), "")
    if half:
        wanted = _decimals(half, _OF_HALF)
    else:
        wanted = max(_decimals(mean, _LEAST_ALONE if half is None else _LEAST), apart, 0)
    decimals = min(wanted, _decimals(mean, _MOST, zero=_MOST))
    size = max(abs(mean), half or 0.0)
    if size and not _PLAIN[0] <= size < _PLAIN[1]:
        return Shown(_scaled(mean, decimals), "" if half is None else f"{half:.{_OF_HALF - 1}e}")
    return Shown(_fixed(mean, decimals), "" if half is None else _half(half, decimals))


def _half(half: float, decimals: int) -> str:
    if half == 0 or not math.isfinite(half):
        return f"{half:g}"
    own = _decimals(half, _OF_HALF)
    return _fixed(half, own) if own <= decimals else f"{half:.{_OF_HALF - 1}e}"


def _fixed(value: float, decimals: int) -> str:
    """Round to *decimals*; negative numbers mean tens, hundreds and so on."""
    return f"{round(value, decimals) + 0.0:.{max(decimals, 0)}f}"  # + 0.0, because -0.0 is 0


def _scaled(mean: float, decimals: int) -> str:
    if round(mean, decimals) == 0:
        return "0"
    return f"{mean:.{min(max(decimals + _exponent(mean, _MOST), 0), _MOST - 1)}e}"


def _decimals(value: float, significant: int, zero: int = 0) -> int:
    """Return how many decimals show that many digits of *value*; *zero* for the value 0."""
    if value == 0 or not math.isfinite(value):
        return zero
    return significant - 1 - _exponent(value, significant)


def _exponent(value: float, significant: int) -> int:
    return int(f"{value:.{significant - 1}e}".split("e")[1])  # after rounding: 9.996 becomes 1e1
