"""Lists of jobs: filtered, sorted by a column or by where a metric stands, a page at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    FromClause,
    Row,
    Select,
    asc,
    case,
    cast,
    desc,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    true,
    tuple_,
)

from normlab.errors import FieldProblem, InvalidSpec
from normlab.records import JobPage, JobRecord
from service import schema
from service.conditions import condition
from service.database import Database
from service.filters import parse
from service.identity import parse_id
from service.pages import decode_cursor, encode_cursor

_j = schema.job.c
_SHOWN = [c for c in schema.job.c if c.name in {*JobRecord.model_fields, "held", "not_before"}]
SHOWN = [c.name for c in _SHOWN]
"""The columns of the table that make a record."""
_JOBS = select(*_SHOWN)
_LIVE = text("select distinct device from worker where live_until > clock_timestamp()")
_key, _last = schema.metric_key.c, schema.metric_last.c
_USUAL = or_(*(_key.name.startswith(start) for start in ("train/", "val/", "device/")))
"""Metrics that every list shows."""
_NUMBERS: Mapping[str, ColumnElement[Any]] = {
    "batch_size": _j.batch_size,
    "samples_per_update": _j.samples_per_update,
    "seed": _j.seed,
    "priority": _j.priority,
    "attempt": _j.attempt,
    "step": _j.step,
    "started_at": func.extract("epoch", _j.started_at),
    "finished_at": func.extract("epoch", _j.finished_at),
}
_TEXTS: Mapping[str, ColumnElement[Any]] = {
    name: schema.job.c[name]
    for name in ("name", "owner", "state", "device", "normalizer", "model", "dataset")
}


@dataclass(frozen=True)
class JobFilters:
    """What a list keeps; None keeps all."""

    state: tuple[str, ...] | None = None
    device: tuple[str, ...] | None = None
    normalizer: tuple[str, ...] | None = None
    study: str | None = None
    owner: str | None = None
    name: str | None = None
    """A part of the name, in any case."""
    where: str | None = None
    """A filter in the language of `service.filters`."""

    def conditions(self) -> list[ColumnElement[bool]]:
        """Say the filters in SQL."""
        found: list[ColumnElement[bool]] = []
        for column, wanted in ((_j.state, self.state), (_j.device, self.device)):
            if wanted is not None:
                found.append(column.in_(wanted))
        if self.normalizer is not None:
            found.append(_j.normalizer.in_(self.normalizer))
        if self.study is not None:
            found.append(_j.study == parse_id(self.study, "study"))
        if self.owner is not None:
            found.append(_j.owner == self.owner)
        if self.name is not None:
            found.append(_j.name.icontains(self.name, autoescape=True))
        if self.where:
            found.append(condition(parse(self.where)))
        return found


@dataclass(frozen=True)
class _Order:
    """A sort key as SQL, with what a cursor holds of it."""

    key: str
    column: ColumnElement[Any]
    types: tuple[type, ...]
    descending: bool
    metric: str | None = None
    newest: FromClause | None = None
    """Of each job, the metric's last value."""

    def cursor_value(self, value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        return None if isinstance(value, float) and math.isinf(value) else value

    def bound(self, value: Any) -> ColumnElement[Any]:
        if self.types == (str,) and self.key.lstrip("-") == "created_at":
            return literal(_moment(value))
        return literal(self.nothing if value is None else value)

    @property
    def nothing(self) -> float:
        """Stands for a missing value: the last in either direction."""
        return -math.inf if self.descending else math.inf


def list_jobs(
    database: Database,
    filters: JobFilters = JobFilters(),
    sort: str = "-created_at",
    cursor: str | None = None,
    limit: int = 100,
) -> JobPage:
    """
    Return one page of jobs.

    Args:
        sort: a column, or a metric's name such as `val/accuracy` for its last value; a minus
            before it turns the order round. Jobs that have no such value come last.
        cursor: the `next_cursor` of the page before, with the same *sort*.

    Raises:
        InvalidSpec: if *sort*, *cursor* or *limit* cannot be used.
    """
    if not 1 <= limit <= 1000:
        rule = "must lie between 1 and 1000"
        raise InvalidSpec(f"limit={limit} {rule}", [FieldProblem("limit", rule)])
    order, query = _page_query(sort, filters, cursor, limit + 1)
    with database.autocommit() as connection:
        rows = connection.execute(query).all()
        jobs = _records(connection, rows[:limit])
    more = len(rows) > limit
    return JobPage(jobs=jobs, next_cursor=_cursor_after(order, rows[limit - 1]) if more else None)


def read_records(
    connection: Connection, jobs: Sequence[UUID], *, all_metrics: bool = False
) -> list[JobRecord]:
    """Return the records of *jobs* that exist, in that order."""
    shown = true() if all_metrics else _USUAL
    found = connection.execute(_with_stands(_JOBS.where(_j.id.in_(jobs)), shown)).all()
    by_id = {row.id: row for row in found}
    return _records(connection, [by_id[job] for job in jobs if job in by_id])


def _order(sort: str) -> _Order:
    descending = sort.startswith("-")
    name = sort.removeprefix("-")
    if name == "created_at":
        return _Order(sort, _j.created_at, (str,), descending)
    if name in _TEXTS:
        return _Order(sort, func.coalesce(_TEXTS[name], ""), (str,), descending)
    metric = name if "/" in name else None
    if metric is None and name not in _NUMBERS:
        accepted = ", ".join(sorted(["created_at", *_NUMBERS, *_TEXTS]))
        rule = f"a metric's name such as val/accuracy, or one of {accepted}; a minus reverses"
        raise InvalidSpec(
            f"sort={sort!r} is no order; accepted is {rule}", [FieldProblem("sort", rule)]
        )
    newest = _newest_value(metric) if metric else None
    column = cast(_NUMBERS[name], Double) if newest is None else newest.c.value
    nothing = -math.inf if descending else math.inf
    known = func.coalesce(func.nullif(column, math.nan), nothing)
    return _Order(sort, known, (float, int, type(None)), descending, metric, newest)


def _newest_value(metric: str) -> FromClause:
    last, key = schema.metric_last.c, schema.metric_key.c
    wanted = select(key.id).where(key.name == metric).scalar_subquery()
    of_job = select(last.value).where(last.job == _j.id, last.key == wanted)
    # One is all there is. Saying so keeps the planner from joining the tables whole.
    return of_job.limit(1).correlate(schema.job).lateral("newest")


@lru_cache(64)  # a page that looks again and again asks the same
def _page_query(
    sort: str, filters: JobFilters, cursor: str | None, limit: int
) -> tuple[_Order, Select[Any]]:
    order = _order(sort)
    query = _JOBS.add_columns(order.column.label("sorted_by")).where(*filters.conditions())
    if order.newest is not None:
        query = query.select_from(schema.job.outerjoin(order.newest, true()))
    place = tuple_(order.column, _j.id)
    if cursor is not None:
        value, job = decode_cursor(cursor, order.key, [order.types, str])
        bound = tuple_(order.bound(value), literal(_cursor_job(job)))
        query = query.where(place < bound if order.descending else place > bound)
    shown = _USUAL if order.metric is None else _USUAL | (_key.name == order.metric)
    page = _with_stands(_ordered(query, order).limit(limit), shown)
    return order, _ordered(page, order)


def _ordered(query: Select[Any], order: _Order) -> Select[Any]:
    turned = desc if order.descending else asc
    return query.order_by(turned("sorted_by"), turned("id"))


def _with_stands(jobs: Select[Any], shown: ColumnElement[bool]) -> Select[Any]:
    """Add to each of *jobs* where its metrics stand, by name."""
    job = jobs.subquery("listed")
    parts: list[ColumnElement[Any]] = [literal_column("'step'"), _last.step]
    for number in (_last.value, _last.min, _last.max):
        parts += [literal_column(f"'{number.name}'"), _finite(number)]
    by_name = func.json_object_agg(_key.name, func.json_build_object(*parts)).label("last")
    named = schema.metric_last.join(schema.metric_key)
    stands = select(by_name).select_from(named).where(_last.job == job.c.id, shown).lateral()
    return select(job, stands.c.last).select_from(job.join(stands, true()))


def _finite(number: ColumnElement[float]) -> ColumnElement[float | None]:
    # to PostgreSQL, NaN is larger than infinity; JSON has neither
    return case((func.abs(number) < math.inf, number), else_=None)


def _cursor_after(order: _Order, row: Row[Any]) -> str:
    return encode_cursor(order.key, [order.cursor_value(row.sorted_by), str(row.id)])


def _cursor_job(job: str) -> UUID:
    try:
        return UUID(job)
    except ValueError as e:
        raise InvalidSpec("the cursor was not made by this list") from e


def _moment(value: str) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except ValueError as e:
        raise InvalidSpec("the cursor was not made by this list") from e


def _records(connection: Connection, rows: Sequence[Row[Any]]) -> list[JobRecord]:
    if not rows:
        return []
    live = _live_devices(connection, rows)
    names = rows[0]._fields  # of all rows: a dictionary made from each row's own takes longer
    return [record_of(dict(zip(names, row)), live) for row in rows]


def _live_devices(connection: Connection, rows: Sequence[Row[Any]]) -> set[str]:
    if not any(row.state == "queued" for row in rows):
        return set()
    return {row.device for row in connection.execute(_LIVE)}


def record_of(row: Mapping[str, Any], live: set[str]) -> JobRecord:
    """
    Make a record of a *row*, given the kinds of device that are live.

    Args:
        row: the columns SHOWN, and as `last` where metrics stand, if there are any.
    """
    study = row["study"]
    values = {
        **row,
        "id": str(row["id"]),
        "study": None if study is None else str(study),
        "waiting_for": _waiting_for(row, live),
        "last": row.get("last") or {},
    }
    return JobRecord.model_validate(values)


def _waiting_for(row: Mapping[str, Any], live: set[str]) -> str | None:
    if row["state"] != "queued":
        return None
    if row["held"]:
        return "its study, which is paused"
    if row["device"] not in live:
        return f"a worker for {row['device']}: none is live now"
    if row["not_before"] is not None:
        pause = f"a pause until {row['not_before']:%H:%M:%S %Z}"
        return f"{pause}, before attempt {row['attempt'] + 1}"
    return f"its turn at a worker for {row['device']}"
