"""Find the best jobs, and jobs whose metric matches a filter, by the index of last values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Row, Select, any_, bindparam, func

from service.jobs.conditions import meeting_by_last
from service.jobs.filters import All, FieldComparison, Filter
from service.jobs.metric_values import LAST
from service.jobs.rare import expected, ids
from service.store import schema

FEW = 3000
"""Up to this number of jobs, each is looked up by itself."""
MANY = 50_000
"""If there are more jobs than this, a page is filled sooner by looking at the newest ones."""
_SIZES = (500, 5000)  # of batches of the leading jobs
_SIZE = "leading_jobs"
_j = schema.job.c


def narrowed_by_value(
    connection: Connection, asked: Sequence[Filter], *, newest_first: bool
) -> list[ColumnElement[bool]]:
    """
    Return a condition that keeps the jobs which may match all of *asked*, as `rare.narrowed` does.

    Empty if *asked* names no metric, or if too many jobs have such a value.
    """
    metric = _metric(asked)
    if metric is None:
        return []
    meeting = meeting_by_last(metric)
    # in their order, because PostgreSQL does not know how often one metric has such values
    found = connection.execute(meeting.order_by(LAST).limit(FEW + 1)).scalars().all()
    if len(found) <= FEW:
        return [_j.id == any_(ids(found))]
    if newest_first and expected(connection, meeting) <= MANY:
        return [func.coalesce(_j.id.in_(meeting), False)]  # as a table, which is read by age
    return []


def _metric(asked: Sequence[Filter]) -> FieldComparison | None:
    parts = [part for of in asked for part in (of.parts if isinstance(of, All) else (of,))]
    met = (part for part in parts if isinstance(part, FieldComparison) and "/" in part.field)
    return next(met, None)


def among_leading(page: Select[Any], leading: Select[Any]) -> Select[Any]:
    """Limit *page* to the first of *leading*, the ids of jobs in its order; for `filled`."""
    size = bindparam(_SIZE, type_=Integer)
    return page.where(_j.id == any_(func.array(leading.limit(size).scalar_subquery())))


def filled(connection: Connection, page: Select[Any], wanted: int) -> Sequence[Row[Any]] | None:
    """Return the first *wanted* rows of *page* of `among_leading`; None: some are not there."""
    for size in _SIZES:
        rows = connection.execute(page, {_SIZE: size}).all()
        if len(rows) == wanted:
            return rows
    return None
