"""The metrics store: points in packed chunks, and the last values of metrics."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray
from sqlalchemy import Connection

from normlab.errors import FieldProblem, InvalidSpec, NotFound
from normlab.events import Series
from normlab.not_finite import places_of, taken_out
from normlab.records import LastValue, SeriesRecord
from service.jobs.leases import Lease
from service.results.chunks import (
    NOTHING,
    PACKED,
    PACKED_WITHOUT_TIMES,
    Columns,
    columns,
    merge,
    pack,
    thin_out,
    unpack,
)
from service.store import events
from service.store.database import Database, cursor_of
from service.store.identity import parse_id

MAX_NAME = 200

_STANDS = (
    "select k.name, k.id, l.attempt, l.step, l.min, l.min_step, l.max, l.max_step,"
    " l.total, l.points, l.value"
    " from metric_key k left join metric_last l on l.job = %s and l.key = k.id"
    " where k.name = any(%s)"
)
_NEW_KEYS = "insert into metric_key (name) select unnest(%s::text[]) on conflict do nothing"
WRITE_CHUNK = (
    "insert into metric_chunk (job, key, attempt, step0, step1, n, t0, steps, vals, times)"
    " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
    " on conflict do nothing"
)
_STAND = (
    "insert into metric_last"
    " (job, key, attempt, step, value, min, min_step, max, max_step, total, points)"
    " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
    " on conflict (job, key) do update set attempt = excluded.attempt, step = excluded.step,"
    " value = excluded.value, min = excluded.min, min_step = excluded.min_step,"
    " max = excluded.max, max_step = excluded.max_step,"
    " total = excluded.total, points = excluded.points"
)
_READ, _READ_WITHOUT_TIMES = (
    f"select attempt, {packed} from metric_chunk"
    " where job = %s and key = %s and step1 >= %s and step0 <= %s order by attempt, step0"
    for packed in (PACKED, PACKED_WITHOUT_TIMES)
)
RESUMED = (
    "select number, resumed_from_step from attempt where job = %s and resumed_from_step is not null"
)
_AHEAD = "select key from metric_last where job = %s and step > %s"
_NAMES = (
    "select k.name, l.step, l.value, l.min, l.max from metric_last l"
    " join metric_key k on k.id = l.key where l.job = %s order by k.name"
)
_FORGET = "delete from metric_last where job = %s and key = %s"


@dataclass(frozen=True)
class _Stand:
    """The last point of a metric, and its extremes and its sum up to there."""

    attempt: int
    step: int
    min: float
    min_step: int
    max: float
    max_step: int
    total: float | None
    """None: not known of the points that an earlier version stored."""
    points: int | None


def append(connection: Connection, lease: Lease, series: Mapping[str, Series]) -> None:
    """
    Store points, in a transaction that holds *lease*; skip points that it stored before.

    So a batch that is sent again after a lost answer changes nothing, however it is split.
    Within an attempt, the steps of a metric only increase: a point before the last one is dropped.

    Raises:
        InvalidSpec: if a metric's name is empty or too long, or its columns do not fit together.
    """
    if not series:
        return
    cursor = cursor_of(connection)
    stands = _stands(cursor, lease.job, list(series))
    chunks: list[tuple[Any, ...]] = []
    lasts: list[tuple[Any, ...]] = []
    for name, reported in series.items():
        key, stand = stands[name]
        points = columns(reported.steps, reported.values, reported.times)
        if stand is not None and stand.attempt == lease.attempt:
            points = points.within(stand.step + 1, None)
        if len(points):
            if stand is not None and points.steps[0] <= stand.step:
                # what this attempt repeats counts once in the sum, as it does in the curve
                before = read_points(cursor, lease.job, key, None, int(points.steps[0]) - 1)
                stand = replace(stand, total=float(before.values.sum()), points=len(before))
            identity = (lease.job, key, lease.attempt)
            chunks += [(*identity, *vars(chunk).values()) for chunk in pack(points)]
            lasts.append(_advanced(identity, points, stand))
    if chunks:
        with cursor.connection.pipeline():  # one round trip for all
            cursor.executemany(WRITE_CHUNK, chunks)
            cursor.executemany(_STAND, lasts)
            cursor.execute(events.NOTIFY, events.news(lease.job))


def rewind(connection: Connection, lease: Lease, step: int) -> None:
    """Reset the last value of each metric to that at *step*, from which *lease* continues."""
    cursor = cursor_of(connection)
    for (key,) in cursor.execute(_AHEAD, (lease.job, step)).fetchall():
        points = read_points(cursor, lease.job, key, None, step)
        cursor.execute(_FORGET, (lease.job, key))
        if len(points):
            # Written as the earlier attempt's, so that this attempt may repeat the same step.
            identity = (lease.job, key, lease.attempt - 1)
            cursor.execute(_STAND, _advanced(identity, points, None))


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
        found = cursor.execute(_STANDS, (key, [name])).fetchone()
        if found is not None and found[2] is not None:
            _, metric, _, step, low, _, high, *_, value = found
            last = last_value(step, value, low, high)
            return last, read_points(cursor, key, metric, from_step, to_step)
        known = [row[0] for row in cursor.execute(_NAMES, (key,)).fetchall()]
    near = difflib.get_close_matches(name, known, 3, 0.3) or known[:3]
    hint = f"the nearest are {', '.join(near)}" if near else "it has reported nothing yet"
    raise NotFound(f"job {job} has no metric {name!r}; {hint}")


def _stands(
    cursor: psycopg.Cursor[Any], job: UUID, wanted: Sequence[str]
) -> dict[str, tuple[int, _Stand | None]]:
    # The key of each metric, including new ones, and its last value
    for name in wanted:
        if not 0 < len(name) <= MAX_NAME:
            rule = f"a metric's name has 1 to {MAX_NAME} characters"
            raise InvalidSpec(f"metric {name[:50]!r}: {rule}", [FieldProblem("name", rule)])
    found = {
        name: (key, None if stand[0] is None else _Stand(*stand))
        for name, key, *stand, _ in cursor.execute(_STANDS, (job, wanted)).fetchall()
    }
    new = sorted(set(wanted) - set(found))
    if new:
        cursor.execute(_NEW_KEYS, (new,))
        found |= _stands(cursor, job, new)
    return found


def _advanced(
    identity: tuple[UUID, int, int], points: Columns, stand: _Stand | None
) -> tuple[Any, ...]:
    low, low_step = _extreme(points, np.argmin)
    high, high_step = _extreme(points, np.argmax)
    if stand is not None and not (low < stand.min or math.isnan(stand.min)):
        low, low_step = stand.min, stand.min_step
    if stand is not None and not (high > stand.max or math.isnan(stand.max)):
        high, high_step = stand.max, stand.max_step
    last = (int(points.steps[-1]), float(points.values[-1]))
    return (*identity, *last, low, low_step, high, high_step, *_sums(points, stand))


def _sums(points: Columns, stand: _Stand | None) -> tuple[float | None, int | None]:
    # NaN if a value is NaN: a mean over a part of the curve would look better than the curve
    total, count = float(points.values.sum()), len(points)
    if stand is None:
        return total, count
    if stand.total is None or stand.points is None:
        return None, None
    return stand.total + total, stand.points + count


def _extreme(points: Columns, find: Any) -> tuple[float, int]:
    known = np.flatnonzero(~np.isnan(points.values))
    at = known[find(points.values[known])] if len(known) else len(points) - 1
    return float(points.values[at]), int(points.steps[at])


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
