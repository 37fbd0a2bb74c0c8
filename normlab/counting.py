"""Numbers of things and of bytes, as people write them."""

from __future__ import annotations

import math
import re
from typing import Iterable, Tuple

from normlab.not_finite import written

_POWERS = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_UNITS = {"": 1, "B": 1, **{unit: power for power, unit in _POWERS}}
_UNITS.update({"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12})
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]*)")


def counted(number: int, one: str, many: str = "") -> str:
    """Say how many there are of a thing: `1 job`, `2 jobs`, `3 studies`."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def size(count: float) -> str:
    """Format a number of bytes."""
    unit, power = unit_for([count])
    return f"{count / power:.{0 if power == 1 else 1}f} {unit}"


def measured(metric: str, value: float, digits: str = ".4g") -> str:
    """Format a value of *metric*, with its unit if it is a number of bytes."""
    is_size = in_bytes(metric) and math.isfinite(value)
    return size(value) if is_size else written(value, digits)


def in_bytes(metric: str) -> bool:
    """Return whether values of *metric*, with or without a reduction, are numbers of bytes."""
    return metric.partition(":")[0].endswith("_bytes")


def unit_for(counts: Iterable[float]) -> Tuple[str, int]:
    """Return the unit in which `size` writes the largest of *counts*, and its bytes."""
    most = max(map(abs, filter(math.isfinite, counts)), default=0.0)
    return next(((unit, power) for power, unit in _POWERS if most >= power), ("B", 1))


def bytes_of(unit: str) -> int:
    """Return the bytes of a *unit* such as MiB; 1 for no unit."""
    return _UNITS[unit]


def read_size(text: str) -> int:
    """
    Read a number of bytes, such as 500, 1.5GB or 200GiB.

    Raises:
        ValueError: *text* is not a size.
    """
    found = _WRITTEN.fullmatch(text.strip())
    units = {unit.lower(): factor for unit, factor in _UNITS.items()}
    if found is None or found.group(2).lower() not in units:
        raise ValueError(f"{text!r} is not a size; write bytes, or a unit such as 200GB or 200GiB")
    return round(float(found.group(1)) * units[found.group(2).lower()])
