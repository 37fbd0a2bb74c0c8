"""Reductions of a job's metric, and the values of one metric for all jobs."""

from __future__ import annotations

import math
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Double,
    Select,
    Subquery,
    and_,
    asc,
    case,
    desc,
    func,
    literal,
    select,
    tuple_,
)

from normlab.presentation.intervals import smaller_is_better
from service.store import schema

_last = schema.metric_last.c
REDUCTIONS = ("last", "best", "min", "max", "mean")


def of_one_job(name: str, reduction: str) -> ColumnElement[Any]:
    """
    Return the value of a row of the table of jobs: for the few jobs of a page.

    NaN and infinity are values; null: the job has not reported the metric.
    """
    found = select(_taken(name, reduction))
    found = found.where(_last.job == schema.job.c.id, _last.key == _key_of(name))
    return found.limit(1).correlate(schema.job).scalar_subquery()


def of_all_jobs(name: str, reduction: str = "last") -> Subquery:
    """
    Return the rows (job, value) of all jobs that have reported the metric *name*.

    A value that is NaN or infinite is null, so that it comes last in both directions.
    Join these rows where many jobs are sorted or filtered: an index lookup for each of 100,000 jobs
    takes ten times as long.
    """
    taken = _taken(name, reduction)
    found = select(_last.job, case((is_finite(taken), taken)).label("value"))
    return found.where(_last.key == _key_of(name)).subquery("of_all")


def whose_last(name: str, meets: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return whether a job's last value of *name* is a number that meets *meets*, about `LAST`."""
    return schema.job.c.id.in_(jobs_whose_last(name, meets))


def jobs_whose_last(name: str, meets: ColumnElement[bool]) -> Select[UUID]:
    """Return the ids of these jobs."""
    # for PostgreSQL, NaN is larger than every number; here it counts as no value
    jobs = select(_last.job).where(_last.key == _key_of(name), _last.value != math.nan, meets)
    return jobs.correlate(None)


def leading(name: str, after: Place | None, *, descending: bool) -> Select[UUID]:
    """Return the ids of the jobs with a finite last value of *name*, ordered by it, and by id."""
    place = tuple_(_last.value, _last.job)
    found = jobs_whose_last(name, and_(_last.value > -math.inf, _last.value < math.inf))
    if after is not None:
        bound = tuple_(literal(after[0], Double), literal(after[1]))
        found = found.where(place < bound if descending else place > bound)
    turned = desc if descending else asc
    return found.order_by(turned(_last.value), turned(_last.job))


LAST: ColumnElement[float] = _last.value
Place = tuple[float, UUID]
"""A job's place in an order by a metric: its value, and its id."""


def _key_of(name: str) -> ColumnElement[int]:
    key = schema.metric_key.c
    return select(key.id).where(key.name == name).scalar_subquery()


def _taken(name: str, reduction: str) -> ColumnElement[Any]:
    if reduction == "best":
        reduction = "min" if smaller_is_better(name) else "max"
    if reduction == "mean":
        return _last.total / func.nullif(_last.points, 0)
    return {"last": _last.value, "min": _last.min, "max": _last.max}[reduction]


def is_finite(number: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return whether *number* is neither NaN nor infinite."""
    return func.abs(number) < math.inf  # for PostgreSQL, NaN is larger than infinity
