"""
The digits of a mean: as many as its uncertainty allows.

A mean is rounded to the second digit of its half width; further digits say nothing. Without an
interval, or if all seeds are equal, it has at least four digits (three with a half width of 0), and
as many decimals as distinguish it from the other such means of the table, up to six significant
digits: means that agree in those are equal. Means of bytes have one unit in the whole table.
"""

from __future__ import annotations

import math
from typing import Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from normlab.counting import bytes_of, in_bytes, unit_for

_LEAST = 3
_LEAST_ALONE = 4
_MOST = 6
_OF_HALF = 2
_PLAIN = (1e-4, 1e7)  # numbers outside are written with an exponent
_MOST_DECIMALS = 12
Number = Optional[float]
Row = Tuple[Number, Number]


class Shown(NamedTuple):
    """A mean and half the width of its interval as text, with units; empty if there is none."""

    mean: str
    half: str

    def __str__(self) -> str:
        """Join both: `0.915 ± 0.004`."""
        return f"{self.mean} ± {self.half}" if self.half else self.mean


def shown(rows: Sequence[Row], metric: str = "", beside: Iterable[Number] = ()) -> List[Shown]:
    """
    Write the means of one table, each with its half width.

    Args:
        rows: a mean and its half width, for each row.
        metric: whose values they are; those of bytes have the unit of the largest.
        beside: other values of the table, which should have the same unit.
    """
    if not in_bytes(metric):
        return _in_one_unit(rows)
    unit, power = unit_for(x for x in (*(mean for mean, _ in rows), *beside) if x is not None)
    scaled = [(_divided(mean, power), _divided(half, power)) for mean, half in rows]
    return [Shown(*(_with(unit, of) for of in text)) for text in _in_one_unit(scaled)]


def like(text: Shown, value: float) -> str:
    """Write *value* with the unit of the mean of *text*, and as many decimals as it has."""
    mean, space, unit = text.mean.partition(" ")
    value /= bytes_of(unit)
    if "e" in mean:
        return f"{value:.{_LEAST - 1}e}{space}{unit}"
    return f"{_fixed(value, len(mean.partition('.')[2]))}{space}{unit}"


def around(text: Shown, spread: float) -> str:
    """Write *spread* with the unit of the mean of *text*, and two digits."""
    _, space, unit = text.mean.partition(" ")
    return f"{spread / bytes_of(unit):.{_OF_HALF}g}{space}{unit}"


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


def _in_one_unit(rows: Sequence[Row]) -> List[Shown]:
    apart = decimals_apart(mean for mean, half in rows if mean is not None and not half)
    return [_shown(mean, half, apart) for mean, half in rows]


def _with(unit: str, text: str) -> str:
    return f"{text} {unit}" if text[-1:].isdigit() else text  # not for NaN and nothing


def _divided(value: Number, by: int) -> Number:
    return None if value is None else value / by


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
