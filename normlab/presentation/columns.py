"""Columns of files and frames: each has one type, and no cell is a spreadsheet formula."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

from normlab.not_finite import name_of
from normlab.specs.cells import label

_BEGINS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBERS = {int, float}


def typed_columns(coordinates: Sequence[Mapping[str, Any]]) -> Dict[str, List[Any]]:
    """
    Return for each path its values, one for each of *coordinates*.

    A column of Booleans, integers or texts keeps its type, and None stays None. Integers mixed
    with floats become floats. A column with an object or a list, such as a normalizer with
    options, or with several of these types, becomes text: the label of each value.
    """
    paths = dict.fromkeys(path for place in coordinates for path in place)
    return {path: _of_one_type([place.get(path) for place in coordinates]) for path in paths}


def _of_one_type(values: List[Any]) -> List[Any]:
    types = {type(value) for value in values if value is not None}
    if types == _NUMBERS:
        return [None if value is None else float(value) for value in values]
    if len(types) <= 1 and types <= {bool, int, float, str}:
        return values
    return [None if value is None else label(value) for value in values]


def plain_cell(value: Any) -> Any:
    """
    Return *value* safe for a spreadsheet: text that begins like a formula gets a quote.

    Numbers are not changed, not even as text: -0.5 and +1e-3 are not formulas. NaN and infinity
    have their names; only missing values are empty.
    """
    if isinstance(value, float):
        return name_of(value) or value
    if not isinstance(value, str) or not value.startswith(_BEGINS_A_FORMULA):
        return value
    return value if _is_number(value) else f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
