"""Free JSON within a spec: values that can be stored, sent back and checked in bounded time."""

from __future__ import annotations

import math
from typing import Any, Callable, List, Optional, Tuple

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from typing_extensions import Annotated

from normlab.errors import FieldProblem
from normlab.specs.base import is_stored, text_problem

MAX_DEPTH = 32
"""The depth of nested objects and lists, which PostgreSQL and our own readers can handle."""
MAX_INTEGER = 2**63 - 1
"""The largest integer that a column of the database holds."""
MAX_COUNT = 2**31 - 1
"""The largest number of updates, samples or points that the metrics' columns can hold."""

TextRule = Callable[[str], Optional[str]]
"""A function that returns the problem with a text, or None."""

_Place = Optional[Tuple[Any, Any]]  # the place around it and its key there; no path is copied


def _stored_rule(text: str) -> Optional[str]:
    whole = text.isascii() or not any(0xD800 <= ord(c) <= 0xDFFF for c in text)
    if whole and "\x00" not in text:
        return None
    return "control character NUL or broken Unicode, which cannot be stored; use plain text"


def json_problem(value: Any, text_rule: TextRule = _stored_rule) -> Optional[FieldProblem]:
    """
    Return where *value* contains something that cannot be stored as JSON; None if nowhere.

    Nesting is bounded by MAX_DEPTH and integers by MAX_INTEGER, floats must be finite, and texts
    keep *text_rule*. *value* is traversed without recursion, so its depth does not matter.
    """
    waiting: List[Tuple[Any, int, _Place]] = [(value, 0, None)]
    while waiting:
        found, depth, place = waiting.pop()
        rule = _rule(found, depth, text_rule)
        if rule is not None:
            return FieldProblem(_path(place) or "body", rule)
        if isinstance(found, dict):
            for key, inner in found.items():
                rule = _rule(key, depth, text_rule)
                if rule is not None:
                    return FieldProblem(_path(place) or "body", f"of the field {key!a}: {rule}")
                waiting.append((inner, depth + 1, (place, key)))
        elif isinstance(found, (list, tuple)):
            waiting += [(inner, depth + 1, (place, i)) for i, inner in enumerate(found)]
    return None


def _rule(value: Any, depth: int, text_rule: TextRule) -> Optional[str]:
    if depth > MAX_DEPTH:
        return f"nested more than {MAX_DEPTH} levels deep; make it flatter"
    if isinstance(value, str):
        return text_rule(value)
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is not JSON; numbers must be finite"
    if isinstance(value, int) and not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
        return "an integer outside 64 bits; use a smaller one"
    return None


def _path(place: _Place) -> str:
    parts: List[str] = []
    while place is not None:
        place, key = place
        parts.append(str(key))
    return ".".join(reversed(parts))


def _bounded(value: Any, info: ValidationInfo) -> Any:
    problem = json_problem(value, _stored_rule if is_stored(info) else text_problem)
    if problem is None:
        return value
    raise ValueError(
        problem.rule if problem.field == "body" else f"{problem.field}: {problem.rule}"
    )


def _seen(path: Any) -> Any:
    problem = text_problem(path) if isinstance(path, str) else None
    if problem is not None:
        raise ValueError(problem)
    return path


Json = Annotated[Any, AfterValidator(_bounded)]
"""Any JSON that can be stored."""

JsonValues = Annotated[Tuple[Any, ...], AfterValidator(_bounded)]
"""Several such values, checked in one pass: an axis may have thousands."""

DottedPath = Annotated[
    str,
    Field(max_length=200, pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+){0,7}$"),
    BeforeValidator(_seen),  # the pattern would refuse it too, but without a reason
]
"""The name of a field, or of one within it, such as `optimizer.lr`: at most 8 levels."""

Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
"""A number of updates or samples."""
