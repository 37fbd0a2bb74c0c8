"""
The digits of a mean: as many as its uncertainty allows, and enough to distinguish the rows.

A mean has as many decimals as two digits of its half width have, at least three significant
digits (four where there is no interval), and at least as many decimals as tell it from every
other mean of the table. Six significant digits are the most: means that agree in those are equal.
"""

from __future__ import annotations

import math
from typing import Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

_LEAST = 3
_LEAST_ALONE = 4
_MOST = 6
_OF_HALF = 2
_PLAIN = (1e-4, 1e7)  # sizes outside are written with an exponent
_MOST_DECIMALS = 12


class Shown(NamedTuple):
    """A mean and half the width of its interval as text; empty where there is none."""

    mean: str
    half: str

    def __str__(self) -> str:
        """Join both: `0.915 ± 0.004`."""
        return f"{self.mean} ± {self.half}" if self.half else self.mean


def shown(rows: Sequence[Tuple[Optional[float], Optional[float]]]) -> List[Shown]:
    """Write the means of one table, each with its half width."""
    apart = decimals_apart(mean for mean, _ in rows if mean is not None)
    return [_shown(mean, half, apart) for mean, half in rows]


def like(text: Shown, value: float) -> str:
    """Write *value* with as many decimals as the mean of *text* has."""
    if "e" in text.mean:
        return f"{value:.{_LEAST - 1}e}"
    return f"{value:.{len(text.mean.partition('.')[2])}f}"


def of_none(excluded: Mapping[int, str]) -> str:
    """Write in place of a mean what the values of all seeds are, none of which is finite."""
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
    least = _LEAST_ALONE if half is None else _LEAST
    wanted = max(_decimals(mean, least), apart, _decimals(half or 0.0, _OF_HALF))
    decimals = max(min(wanted, _decimals(mean, _MOST, zero=_MOST)), 0)
    if mean and not _PLAIN[0] <= abs(mean) < _PLAIN[1]:
        digits = min(max(decimals + _exponent(mean, _MOST), _LEAST - 1), _MOST - 1)
        return Shown(f"{mean:.{digits}e}", "" if half is None else f"{half:.{_OF_HALF - 1}e}")
    return Shown(f"{mean:.{decimals}f}", "" if half is None else _half(half, decimals))


def _half(half: float, decimals: int) -> str:
    if half == 0 or not math.isfinite(half):
        return f"{half:g}"
    own = max(_decimals(half, _OF_HALF), 0)
    return f"{half:.{own}f}" if own <= decimals else f"{half:.{_OF_HALF - 1}e}"


def _decimals(value: float, significant: int, zero: int = 0) -> int:
    """Return how many decimals show so many digits of *value*; *zero* of 0, which has none."""
    if value == 0 or not math.isfinite(value):
        return zero
    return significant - 1 - _exponent(value, significant)


def _exponent(value: float, significant: int) -> int:
    return int(f"{value:.{significant - 1}e}".split("e")[1])  # after rounding: 9.996 is 1e1
