"""Translate filters into SQL: names become columns, and values become bound parameters."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Double,
    Integer,
    Select,
    and_,
    case,
    cast,
    func,
    literal,
    not_,
    or_,
    select,
)

from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs.jobs import JobSpec
from normlab.specs.problems import field_names
from service.jobs.columns import COLUMNS, NAME, STUDY_NAME
from service.jobs.filter_costs import refuse_costly
from service.jobs.filters import All, Either, FieldComparison, Filter, Not, Operator, Value
from service.jobs.metric_values import LAST, jobs_whose_last, whose_last
from service.store import schema

_j = schema.job.c
_s = schema.study.c
_COMPARE: Mapping[Operator, Callable[[Any, Any], ColumnElement[bool]]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a.is_distinct_from(b),
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def condition(of: Filter) -> ColumnElement[bool]:
    """
    Translate a filter into SQL.

    Raises:
        InvalidSpec: an unknown name, or a value that the field cannot have.
        FilterTooCostly: the whole filter costs too much.
    """
    refuse_costly(of, COLUMNS)
    return _condition(of)


def _condition(of: Filter) -> ColumnElement[bool]:
    if isinstance(of, Not):
        return not_(func.coalesce(_condition(of.of), False))
    if isinstance(of, All):
        return and_(*(_condition(part) for part in of.parts))
    if isinstance(of, Either):
        return or_(*(_condition(part) for part in of.parts))
    return _comparison(of)


def _comparison(c: FieldComparison) -> ColumnElement[bool]:
    if c.field == "tag":
        values = c.value if isinstance(c.value, tuple) else (c.value,)
        return _tagged(c.op, [str(value) for value in values])
    if c.op in ("=", "in") and c.field in _BY_INDEX:
        found = _BY_INDEX[c.field](c.value if isinstance(c.value, tuple) else (c.value,))
        if found is not None:
            return found
    if c.op == "~" and c.field == "name" and isinstance(c.value, str):
        return is_named(c.value)
    if "/" in c.field:
        return whose_last(c.field, _compared_last(c))
    return _compared(c, partial(_column, c.field))


def meeting_by_last(metric: FieldComparison) -> Select[UUID]:
    """Return the ids of the jobs whose last value of *metric* meets it."""
    return jobs_whose_last(metric.field, _compared_last(metric))


def _compared_last(metric: FieldComparison) -> ColumnElement[bool]:
    return _compared(metric, partial(_typed, LAST, metric.field))


def is_named(part: str) -> ColumnElement[bool]:
    """Return whether *part* is in the name of a job."""
    # Without `coalesce`, PostgreSQL expects it of 1 job in 20,000, and reads all for a page of many
    return func.coalesce(NAME.icontains(part, autoescape=True), False)


def _compared(
    c: FieldComparison, column: Callable[[Value], ColumnElement[Any]]
) -> ColumnElement[bool]:
    values = c.value if isinstance(c.value, tuple) else (c.value,)
    columns = [column(value) for value in values]
    if c.op == "in":
        return or_(*(column.in_(some) for column, some in _by_type(columns, values)))
    if c.op == "~":
        if isinstance(columns[0].type, Double | Boolean) or not isinstance(c.value, str):
            raise _refused(c.field, "~ looks for a part of a text; use = or <= for numbers")
        return columns[0].icontains(c.value, autoescape=True)
    return _COMPARE[c.op](columns[0], literal(c.value))


def _having_ids(column: ColumnElement[Any], values: Sequence[Value]) -> ColumnElement[bool] | None:
    """Compare whole ids as such, for which there is an index; None: some value is no whole id."""
    if not all(_is_id(value) for value in values):
        return None
    return column.in_([UUID(str(value)) for value in values])


def _named(values: Sequence[Value]) -> ColumnElement[bool] | None:
    """Compare names in a form for which there are indexes; None: some value is no text."""
    if not all(isinstance(value, str) for value in values):
        return None
    studies = func.array(select(_s.id).where(_s.name.in_(values)).scalar_subquery())
    return or_(_j.name.in_(values), and_(_j.name.is_(None), _j.study == func.any(studies)))


_BY_INDEX: Mapping[str, Callable[[Sequence[Value]], ColumnElement[bool] | None]] = {
    "id": partial(_having_ids, _j.id),
    "study": partial(_having_ids, _j.study),
    "name": _named,
}


def _tagged(op: Operator, values: Sequence[str]) -> ColumnElement[bool]:
    if op not in ("=", "!=", "in", "~"):
        raise _refused("tag", f"{op} compares numbers; tags take = != in and ~ (contains)")
    if op == "~":
        found = [_having(lambda tags: func.array_to_string(tags, ",").icontains(
            values[0], autoescape=True))]  # fmt: skip
    else:
        found = [_having(partial(_contains, tag)) for tag in values]
    return not_(or_(*found)) if op == "!=" else or_(*found)


def _contains(tag: str, tags: Any) -> ColumnElement[bool]:
    found: ColumnElement[bool] = tags.contains([tag])
    return found


def _having(condition: Callable[[Any], ColumnElement[bool]]) -> ColumnElement[bool]:
    of_study = _j.study.in_(select(_s.id).where(condition(_s.tags)))
    return or_(condition(_j.tags), func.coalesce(of_study, False))


def _by_type(
    columns: Sequence[ColumnElement[Any]], values: Sequence[Value]
) -> Iterator[tuple[ColumnElement[Any], list[Value]]]:
    # Values of one type share one lookup of the field
    for kind in (str, bool, int, float):
        fitting = [
            (column, value)
            for column, value in zip(columns, values, strict=True)
            if type(value) is kind
        ]
        if fitting:
            yield fitting[0][0], [value for _, value in fitting]


def _column(name: str, value: Value) -> ColumnElement[Any]:
    if name == "study" and not _is_id(value):
        return _typed(STUDY_NAME, name, value)
    if name in COLUMNS:
        return _typed(COLUMNS[name], name, value)
    return _in_spec(path_of(name), value)


def path_of(name: str) -> str:
    """Return the dotted path of a field of specifications; raise InvalidSpec if there is none."""
    known = {*COLUMNS, *field_names(JobSpec)}
    whole = [path for path in known if path.endswith(f".{name}")]
    if name not in known and len(whole) == 1:  # such as lr, of optimizer.lr
        return whole[0]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        said = ", ".join(near or sorted([*COLUMNS, *JobSpec.model_fields]))
        raise _refused(name, f"jobs have no such field; the nearest are {said}")
    return name


def _is_id(value: Value) -> bool:
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True


def _typed(column: ColumnElement[Any], name: str, value: Value) -> ColumnElement[Any]:
    kind: type = column.type.python_type
    wants_number = kind in (int, float)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if wants_number != is_number or (kind is bool) != isinstance(value, bool):
        wanted = "a number" if wants_number else "true or false" if kind is bool else "a text"
        raise _refused(name, f"takes {wanted}, found {value!r}")
    if isinstance(column.type, Integer) and isinstance(value, int):
        return column  # as it is, for its index
    return cast(column, Double) if wants_number else column


def _in_spec(name: str, value: Value) -> ColumnElement[Any]:
    found = _j.spec[tuple(name.split("."))]
    if isinstance(value, bool):
        return _only(found, "boolean", cast(found.astext, Boolean))
    if isinstance(value, int | float):
        return _only(found, "number", cast(found.astext, Double))
    column: ColumnElement[Any] = found.astext
    return column


def _only(found: Any, kind: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((func.jsonb_typeof(found) == kind, column), else_=None)


def _refused(field: str, rule: str) -> InvalidSpec:
    return InvalidSpec(f"filter: {field}: {rule}", [FieldProblem("filter", f"{field}: {rule}")])
