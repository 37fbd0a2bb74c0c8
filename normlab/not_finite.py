"""
NaN and infinity in JSON, which has neither: null in their place, and a field that names them.

A record with such numbers has a field `not_finite`: the place of each number in the record, as a
JSON pointer (RFC 6901), and its name. A reader that does not know this field reads null, as before.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Dict, Iterable, List, Literal, Optional

from typing_extensions import get_args

Name = Literal["NaN", "Infinity", "-Infinity"]
Places = Dict[str, Name]
FIELD = "not_finite"
DESCRIPTION = (
    "which of the record's numbers are NaN or infinite, which JSON cannot express: their places "
    "as JSON pointers, such as `/value` or `/values/3`, where the record has null, and their names"
)
NAMES = get_args(Name)


def name_of(number: float) -> Optional[Name]:
    """Return the name of a *number* that is NaN or infinite; None if it is finite."""
    if math.isfinite(number):
        return None
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def written(number: float, digits: str = ".4g") -> str:
    """Return *number* as people read it: with few digits, or its name."""
    return name_of(number) or f"{number:{digits}}"


def tallied(names: Iterable[str]) -> str:
    """Count each of *names*: `1 NaN, 2 Infinity`; empty for none."""
    return ", ".join(f"{count} {name}" for name, count in Counter(names).items())


def places_of(numbers: Iterable[float], under: str) -> Places:
    """Return the places of those of *numbers* that are not finite, in a list at *under*."""
    named = ((i, name_of(number)) for i, number in enumerate(numbers))
    return {f"{under}/{i}": name for i, name in named if name is not None}


def taken_out(plain: Any, into: Optional[Places] = None, under: str = "") -> Any:
    """Return a copy of *plain* data with None for non-finite numbers, which are put *into*."""
    if isinstance(plain, dict):
        return {
            name: taken_out(value, into, f"{under}/{_escaped(str(name))}")
            for name, value in plain.items()
        }
    if isinstance(plain, (list, tuple)):
        return [taken_out(value, into, f"{under}/{i}") for i, value in enumerate(plain)]
    name = name_of(plain) if isinstance(plain, float) else None
    if name is None:
        return plain
    if into is not None:
        into[under] = name
    return None


def put_back(plain: Any) -> Any:
    """Put the numbers that each record of *plain* names in `not_finite` into their places."""
    if isinstance(plain, dict):
        for value in plain.values():
            put_back(value)
        places = plain.get(FIELD)
        if isinstance(places, dict):
            for pointer, name in places.items():
                _put(plain, pointer.split("/")[1:], float(name))
    elif isinstance(plain, list) and any(isinstance(one, (dict, list)) for one in plain[:1]):
        for value in plain:  # skip columns of numbers, which may be long
            put_back(value)
    return plain


def _put(plain: Any, path: List[str], number: float) -> None:
    for part in path[:-1]:
        plain = plain[_key(plain, part)]
    plain[_key(plain, path[-1])] = number


def _key(plain: Any, part: str) -> Any:
    return int(part) if isinstance(plain, list) else part.replace("~1", "/").replace("~0", "~")


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
