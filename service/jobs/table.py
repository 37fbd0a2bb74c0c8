"""Tables of jobs: chosen columns of a page of jobs, in one query, sorted by any of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson
from pydantic import AwareDatetime
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
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB

from normlab.records.tables import ColumnRecord, JobsQuestion, TableQuestion
from service.jobs.columns import Column, column
from service.jobs.filter_costs import comparisons
from service.jobs.filters import parse
from service.jobs.job_filters import JobFilters
from service.jobs.metric_values import of_all_jobs
from service.jobs.names import reported_in_sight
from service.jobs.rare import narrowed
from service.store import schema
from service.store.cursors import decode_cursor, encode_cursor
from service.store.database import Database
from service.store.identity import parse_id

_j = schema.job.c
_HEAD = (_j.id, _j.state, _j.owner)
_TYPES: dict[str, Any] = {
    "text": str, "number": float | None, "moment": AwareDatetime, "truth": bool, "field": str,
}  # fmt: skip


@dataclass(frozen=True)
class Order:
    """The sort keys of a table: whether there is a value, the value, and the job."""

    sort: str
    of: Column
    descending: bool
    jobs: FromClause = schema.job
    """The jobs, joined with what they are sorted by."""

    @property
    def keys(self) -> list[ColumnElement[Any]]:
        """The sort keys in SQL, all in the same direction; jobs without a value come last."""
        value = self.of.value
        if self.of.required:
            return [value, _j.id]
        if self.of.kind == "number":
            return [func.coalesce(value, self._last), _j.id]
        if self.of.kind == "field":
            value = func.nullif(value, cast(literal("null"), JSONB))
        known, unknown = (1, 0) if self.descending else (0, 1)
        # written out, not bound: to sort by it, PostgreSQL must see the same expression
        flag = case((value.is_(None), unknown), else_=known)
        return [flag, func.coalesce(value, self._filler()), _j.id]

    def after(self, cursor: str) -> ColumnElement[bool]:
        """Whether a job comes after the row of *cursor*."""
        of_value = _TYPES[self.of.kind]
        types = [of_value, UUID] if self._has_no_flag else [int, of_value, UUID]
        *flags, value, job = decode_cursor(cursor, self.sort, types)
        bound: ColumnElement[Any] = literal(value)
        if self.of.kind == "field":
            bound = cast(bound, JSONB)
        if self.of.kind == "number":
            bound = cast(literal(self._last if value is None else value), Double)
        keys, place = tuple_(*self.keys), tuple_(*map(literal, flags), bound, literal(job))
        return keys < place if self.descending else keys > place

    def cursor(self, row: Row[Any]) -> str:
        """Return the cursor after *row*."""
        place = [getattr(row, f"key{i}") for i in range(len(self.keys))]
        value = place[-2]
        if self.of.kind == "field":
            value = orjson.dumps(value).decode()
        if self.of.kind == "moment":
            value = value.isoformat()
        if self.of.kind == "number":
            value = float(value) if math.isfinite(value) else None
        return encode_cursor(self.sort, [*place[:-2], value, str(place[-1])])

    @property
    def _has_no_flag(self) -> bool:
        return self.of.required or self.of.kind == "number"

    @property
    def _last(self) -> float:
        """Stands for a missing number, which comes last in either direction; not valid JSON."""
        return -math.inf if self.descending else math.inf

    def _filler(self) -> ColumnElement[Any]:
        if self.of.kind == "moment":
            return func.to_timestamp(0)
        if self.of.kind == "field":
            return cast(literal("null"), JSONB)
        return literal({"text": "", "truth": False}[self.of.kind])


@dataclass(frozen=True)
class JobTable:
    """Some rows of a table: for each job its id, state, owner, and a value for each column."""

    columns: Sequence[Column]
    rows: Sequence[Row[Any]]
    next_cursor: str | None
    total: int | None
    gone: Sequence[str]

    def values(self, row: Row[Any]) -> list[Any]:
        """Return the values of *row* in the order of the columns."""
        return list(row[len(_HEAD) : len(_HEAD) + len(self.columns)])


def order_of(sort: str) -> Order:
    """Read a sort order; raise InvalidSpec if it is none."""
    of, descending = column(sort.removeprefix("-"), "sort"), sort.startswith("-")
    if of.metric is None:
        return Order(sort, of, descending)
    values = of_all_jobs(of.metric, of.reduction)
    jobs = schema.job.outerjoin(values, values.c.job == _j.id)
    return Order(sort, replace(of, value=values.c.value), descending, jobs)


def read(database: Database, question: TableQuestion) -> JobTable:
    """
    Return one page of a table.

    Raises:
        InvalidSpec: a column, the filter, the order or the cursor cannot be used.
    """
    columns = columns_of(tuple(question.columns))
    order = order_of(question.sort)
    found = conditions(question)
    place = [] if question.cursor is None else [order.after(question.cursor)]
    with database.autocommit() as connection:
        found += few(connection, question)
        query = _query(columns, order, [*found, *place], question.limit + 1, question.skip)
        rows = connection.execute(query).all()
        total = _count(connection, found) if question.count else None
        gone = gone_metrics(connection, question, columns, order)
    more = len(rows) > question.limit
    rows = rows[: question.limit]
    return JobTable(columns, rows, order.cursor(rows[-1]) if more else None, total, gone)


@lru_cache(64)  # a table that is scrolled repeats the same columns
def columns_of(names: tuple[str, ...]) -> tuple[Column, ...]:
    """Return the columns of *names*; raise InvalidSpec at the first that is none."""
    return tuple(column(name, f"columns.{i}") for i, name in enumerate(names))


def conditions(question: JobsQuestion) -> list[ColumnElement[bool]]:
    """Translate which jobs are asked for into SQL."""
    archived = False if question.jobs is None else None  # jobs given by id need no search
    found = JobFilters(where=question.filter, archived=archived).conditions()
    if question.jobs is not None:
        found.append(_j.id.in_([parse_id(job) for job in question.jobs]))
    return found


def few(connection: Connection, question: JobsQuestion) -> list[ColumnElement[bool]]:
    """Return a further condition if few jobs match the filter; see `service.jobs.rare`."""
    return narrowed(connection, [parse(question.filter)]) if question.filter else []


def gone_metrics(
    connection: Connection,
    question: JobsQuestion,
    columns: Sequence[Column],
    order: Order | None = None,
) -> list[str]:
    """List the metrics of *question*, and of its filter, that no job in sight has reported."""
    asked = [of.metric for of in columns] + ([order.of.metric] if order else [])
    if question.filter:
        asked += [
            c.field if "/" in c.field else None for c, _ in comparisons(parse(question.filter))
        ]
    names = list(dict.fromkeys(name for name in asked if name is not None))
    if not names:
        return []
    key = schema.metric_key.c
    query = select(key.name).where(key.name.in_(names), reported_in_sight())
    known = set(connection.execute(query).scalars())
    return [name for name in names if name not in known]


def _query(
    columns: Sequence[Column],
    order: Order,
    where: Sequence[ColumnElement[bool]],
    limit: int,
    skip: int,
) -> Select[Any]:
    """Choose the jobs first, so that only those of the page have their columns read."""
    keys = [key.label(f"key{i}") for i, key in enumerate(order.keys)]
    turned = desc if order.descending else asc
    chosen = select(*keys).select_from(order.jobs).where(*where)
    chosen = chosen.order_by(*(turned(key.name) for key in keys))
    page = chosen.offset(skip).limit(limit).subquery("page")
    places = [page.c[key.name] for key in keys]
    shown = [of.value.label(f"value{i}") for i, of in enumerate(columns)]
    query = select(*_HEAD, *shown, *places).select_from(page.join(schema.job, _j.id == places[-1]))
    return query.order_by(*map(turned, places))


def _count(connection: Connection, where: Sequence[ColumnElement[bool]]) -> int:
    counted = select(func.count()).select_from(schema.job).where(*where)
    return int(connection.execute(counted).scalar_one())


def record_of(of: Column) -> ColumnRecord:
    """Describe a column."""
    return ColumnRecord(name=of.name, kind=of.kind)
