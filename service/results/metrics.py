"""Read the metrics of jobs: points from packed chunks, and last values."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray

from normlab.errors import FieldProblem, InvalidSpec, NotFound
from normlab.not_finite import places_of, taken_out
from normlab.records import LastValue, SeriesRecord
from service.results.chunks import (
    NOTHING,
    PACKED,
    PACKED_WITHOUT_TIMES,
    Columns,
    merge,
    thin_out,
    unpack,
)
from service.store.database import Database, cursor_of
from service.store.identity import parse_id

STANDS = (
    "select k.name, k.id, l.attempt, l.step, l.min, l.min_step, l.max, l.max_step,"
    " l.total, l.points, l.value"
    " from metric_key k left join metric_last l on l.job = %s and l.key = k.id"
    " where k.name = any(%s)"
)
_READ, _READ_WITHOUT_TIMES = (
    f"select attempt, {packed} from metric_chunk"
    " where job = %s and key = %s and step1 >= %s and step0 <= %s order by attempt, step0"
    for packed in (PACKED, PACKED_WITHOUT_TIMES)
)
RESUMED = (
    "select number, resumed_from_step from attempt where job = %s and resumed_from_step is not null"
)
_NAMES = (
    "select k.name, l.step, l.value, l.min, l.max from metric_last l"
    " join metric_key k on k.id = l.key where l.job = %s order by k.name"
)


def names(database: Database, job: str) -> dict[str, LastValue]:
    """Return every metric of *job* with its last value."""
    with database.autocommit() as connection:
        rows = cursor_of(connection).execute(_NAMES, (parse_id(job),)).fetchall()
    return {
        name: LastValue(**last_value(step, value, low, high))
        for name, step, value, low, high in rows
    }


def read(
    database: Database,
    job: str,
    name: str,
    from_step: int | None = None,
    to_step: int | None = None,
    max_points: int | None = None,
) -> SeriesRecord:
    """Like read_arrays, but return a record with lists."""
    found = read_arrays(database, job, name, from_step, to_step, max_points)
    listed: dict[str, Any] = {
        field: _jsonable(value) if isinstance(value, np.ndarray) else value
        for field, value in found.items()
    }
    return SeriesRecord.model_construct(**(listed | {"last": LastValue(**found["last"])}))


def read_arrays(
    database: Database,
    job: str,
    name: str,
    from_step: int | None = None,
    to_step: int | None = None,
    max_points: int | None = None,
) -> dict[str, Any]:
    """
    Return one metric of *job*, its bounds included: the fields of SeriesRecord, columns as arrays.

    Args:
        max_points: a longer series is divided into this many buckets of steps, and each has a
            mean, smallest and largest value; None returns every point.

    Raises:
        NotFound: if the job has no such metric; the message has similar names.
    """
    if max_points is not None and not 1 <= max_points <= 100_000:
        rule = "must lie between 1 and 100000"
        raise InvalidSpec(f"max_points={max_points} {rule}", [FieldProblem("max_points", rule)])
    return shown(name, *_found(database, job, name, from_step, to_step), max_points)


def shown(
    name: str, last: dict[str, Any], points: Columns, max_points: int | None
) -> dict[str, Any]:
    """Return a metric as the fields of SeriesRecord, in at most *max_points* buckets."""
    if max_points is None or len(points) <= max_points:
        taken = {"values": points.values, "min": None, "max": None}
        rest = {"steps": points.steps, "times": points.times}
    else:
        buckets = thin_out(points, max_points)
        taken = {"values": buckets.mean, "min": buckets.low, "max": buckets.high}
        rest = {"steps": buckets.steps, "times": buckets.times}
    named = {
        place: name
        for column, values in taken.items()
        if values is not None and not np.isfinite(values).all()
        for place, name in places_of(values, f"/{column}").items()
    }
    return {"name": name, **taken, **rest, "points": len(points), "last": last, "not_finite": named}


def _found(
    database: Database, job: str, name: str, from_step: int | None, to_step: int | None
) -> tuple[dict[str, Any], Columns]:
    # The last value of the metric, and the part that was requested
    key = parse_id(job)
    with database.autocommit() as connection:
        cursor = cursor_of(connection)
        found = cursor.execute(STANDS, (key, [name])).fetchone()
        if found is not None and found[2] is not None:
            _, metric, _, step, low, _, high, *_, value = found
            last = last_value(step, value, low, high)
            return last, read_points(cursor, key, metric, from_step, to_step)
        known = [row[0] for row in cursor.execute(_NAMES, (key,)).fetchall()]
    near = difflib.get_close_matches(name, known, 3, 0.3) or known[:3]
    hint = f"the nearest are {', '.join(near)}" if near else "it has reported nothing yet"
    raise NotFound(f"job {job} has no metric {name!r}; {hint}")


def last_value(step: int, value: float, low: float, high: float) -> dict[str, Any]:
    """Return the fields of a LastValue."""
    named: dict[str, Any] = {}
    found = taken_out({"value": value, "min": low, "max": high}, named)
    return {"step": step, **found, "not_finite": named}


def read_points(
    cursor: psycopg.Cursor[Any],
    job: UUID,
    key: int,
    from_step: int | None = None,
    to_step: int | None = None,
    resumed: Mapping[int, int] | None = None,
    times: bool = True,
) -> Columns:
    """
    Return the points of the metric *key* of *job*, those of all attempts merged.

    Args:
        resumed: the step from which each attempt continued; None: read here.
        times: whether to read the times, which are a third of what is stored.
    """
    first = 0 if from_step is None else min(max(from_step, 0), 2**31 - 1)
    last = 2**31 - 1 if to_step is None else min(max(to_step, 0), 2**31 - 1)
    if resumed is None:
        resumed = dict(cursor.execute(RESUMED, (job,)).fetchall())
    by_attempt: dict[int, list[Any]] = {}
    query = _READ if times else _READ_WITHOUT_TIMES
    for attempt, *chunk in cursor.execute(query, (job, key, first, last)).fetchall():
        by_attempt.setdefault(attempt, []).append(chunk)
    parts = {attempt: unpack(chunks) for attempt, chunks in by_attempt.items()}
    return merge(parts, resumed).within(from_step, to_step) if parts else NOTHING


def _jsonable(values: NDArray[Any]) -> list[Any]:
    listed: list[Any] = values.tolist()
    for i in np.flatnonzero(~np.isfinite(values)):
        listed[i] = None
    return listed
