"""Lists of jobs: filtered, sorted by a column or by the last value of a metric, in pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime
from sqlalchemy import (
    ColumnElement,
    Double,
    FromClause,
    Row,
    Select,
    asc,
    cast,
    desc,
    func,
    literal,
    select,
    tuple_,
)

from normlab.errors import FieldProblem, InvalidSpec, NotFound
from normlab.records import JobPage
from service.jobs.job_filters import JobFilters
from service.jobs.leading import among_leading, filled, narrowed_by_value
from service.jobs.metric_values import leading, of_all_jobs
from service.jobs.rare import narrowed
from service.jobs.records import JOBS, USUAL, records_of, with_stands
from service.store import schema
from service.store.cursors import decode_cursor, encode_cursor
from service.store.database import Database
from service.store.identity import parse_id
from service.store.sight import current

_j = schema.job.c
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
_NUMBER = float | None  # as in a cursor
_TEXTS: Mapping[str, ColumnElement[Any]] = {
    name: schema.job.c[name]
    for name in ("name", "owner", "project", "state", "device", "normalizer", "model", "dataset")
}


@dataclass(frozen=True)
class _Order:
    """A sort key as SQL, with its value in a cursor."""

    key: str
    column: ColumnElement[Any]
    type: Any
    """Its value in a cursor."""
    descending: bool
    metric: str | None = None
    newest: FromClause | None = None
    """The last value of the metric for each job."""

    def cursor_value(self, value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        return None if isinstance(value, float) and math.isinf(value) else value

    def bound(self, value: Any) -> ColumnElement[Any]:
        return literal(self.nothing if value is None else value)

    @property
    def nothing(self) -> float:
        """Represents a missing value, which comes last in either direction."""
        return -math.inf if self.descending else math.inf


def list_jobs(
    database: Database,
    filters: JobFilters | None = None,
    sort: str = "-created_at",
    cursor: str | None = None,
    limit: int = 100,
) -> JobPage:
    """
    Return one page of the jobs in sight.

    Args:
        sort: a column, or a metric's name such as `val/accuracy` for its last value; a minus
            in front reverses the order. Jobs without a value come last.
        cursor: the `next_cursor` of the previous page, with the same *sort*.

    Raises:
        InvalidSpec: if *sort*, *cursor* or *limit* cannot be used.
    """
    if not 1 <= limit <= 1000:
        rule = "must lie between 1 and 1000"
        raise InvalidSpec(f"limit={limit} {rule}", [FieldProblem("limit", rule)])
    filters = filters or JobFilters()
    order, chosen, page = _page_query(sort, filters, cursor, limit + 1)
    with database.autocommit() as connection:
        asked, newest_first = filters.asked(), order.column is _j.created_at
        few = narrowed(connection, asked)
        first = None if few else _page_of_leading(sort, filters, cursor, limit + 1)
        rows = None if first is None else filled(connection, first, limit + 1)
        if rows is None:
            few = few or narrowed_by_value(connection, asked, newest_first=newest_first)
            rows = connection.execute(_page(order, chosen.where(*few)) if few else page).all()
        jobs = records_of(connection, rows[:limit])
    more = len(rows) > limit
    return JobPage(jobs=jobs, next_cursor=_cursor_after(order, rows[limit - 1]) if more else None)


def in_sight(database: Database, jobs: Sequence[str]) -> set[str]:
    """Return those of the ids *jobs* that belong to jobs in sight."""
    keys: dict[str, UUID] = {}
    for job in jobs:
        with suppress(NotFound):  # it cannot be an id
            keys[job] = parse_id(job)
    query = select(_j.id).where(_j.id.in_(keys.values()), current().condition(_j.project))
    with database.autocommit() as connection:
        found = set(connection.execute(query).scalars())
    return {job for job, key in keys.items() if key in found}


def _order(sort: str) -> _Order:
    descending = sort.startswith("-")
    name = sort.removeprefix("-")
    if name == "created_at":
        return _Order(sort, _j.created_at, AwareDatetime, descending)
    if name in _TEXTS:
        return _Order(sort, func.coalesce(_TEXTS[name], ""), str, descending)
    metric = name if "/" in name else None
    if metric is None and name not in _NUMBERS:
        accepted = ", ".join(sorted(["created_at", *_NUMBERS, *_TEXTS]))
        rule = (
            f"{name!r} is neither a metric's name, such as val/accuracy, nor one of {accepted}; "
            "a minus reverses"
        )
        raise InvalidSpec.of([FieldProblem("sort", rule)])
    newest = of_all_jobs(metric) if metric else None
    column = cast(_NUMBERS[name], Double) if newest is None else newest.c.value
    nothing = -math.inf if descending else math.inf
    known = func.coalesce(func.nullif(column, math.nan), nothing)
    return _Order(sort, known, _NUMBER, descending, metric, newest)


@lru_cache(64)  # a page that refreshes repeats the same query
def _page_query(
    sort: str, filters: JobFilters, cursor: str | None, limit: int
) -> tuple[_Order, Select[Any], Select[Any]]:
    order = _order(sort)
    query = JOBS.add_columns(order.column.label("sorted_by")).where(*filters.conditions())
    if order.newest is not None:
        query = query.select_from(schema.job.outerjoin(order.newest, order.newest.c.job == _j.id))
    place = tuple_(order.column, _j.id)
    if cursor is not None:
        value, job = decode_cursor(cursor, order.key, [order.type, UUID])
        bound = tuple_(order.bound(value), literal(job))
        query = query.where(place < bound if order.descending else place > bound)
    chosen = _ordered(query, order).limit(limit)
    return order, chosen, _page(order, chosen)


@lru_cache(64)
def _page_of_leading(
    sort: str, filters: JobFilters, cursor: str | None, limit: int
) -> Select[Any] | None:
    """Return the page among the first jobs by a metric; None: another order, or no more values."""
    order, chosen, _ = _page_query(sort, filters, cursor, limit)
    if order.metric is None:
        return None
    place = None if cursor is None else decode_cursor(cursor, order.key, [order.type, UUID])
    if place is not None and place[0] is None:
        return None
    after = None if place is None else (place[0], place[1])
    found = leading(order.metric, after, descending=order.descending)
    return _page(order, among_leading(chosen, found))


def _page(order: _Order, chosen: Select[Any]) -> Select[Any]:
    shown = USUAL if order.metric is None else USUAL | (schema.metric_key.c.name == order.metric)
    return _ordered(with_stands(chosen, shown), order)


def _ordered(query: Select[Any], order: _Order) -> Select[Any]:
    turned = desc if order.descending else asc
    return query.order_by(turned("sorted_by"), turned("id"))


def _cursor_after(order: _Order, row: Row[Any]) -> str:
    return encode_cursor(order.key, [order.cursor_value(row.sorted_by), str(row.id)])
