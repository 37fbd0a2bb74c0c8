"""Store the points that a job reports, and the latest state of each of its metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from sqlalchemy import Connection

from normlab.errors import FieldProblem, InvalidSpec
from normlab.events import Series
from service.jobs.leases import Lease
from service.results.chunks import Columns, columns, pack
from service.results.metrics import STANDS, read_points
from service.store import events
from service.store.database import cursor_of

MAX_NAME = 200
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
_AHEAD = "select key from metric_last where job = %s and step > %s"
_FORGET = "delete from metric_last where job = %s and key = %s"


@dataclass(frozen=True)
class _Stand:
    """The last point of a metric, and its extremes and sum up to that point."""

    attempt: int
    step: int
    min: float
    min_step: int
    max: float
    max_step: int
    total: float | None
    """None: unknown, because an earlier version stored some of the points."""
    points: int | None


def append(connection: Connection, lease: Lease, series: Mapping[str, Series]) -> None:
    """
    Store points, in a transaction that holds *lease*; skip points that it stored before.

    So a batch that is sent again after a lost answer changes nothing, even if it is split
    differently.
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
                # steps that this attempt repeats count once in the sum, as in the curve
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
            # Written as a report of the earlier attempt, so that this attempt may repeat the same
            # step.
            identity = (lease.job, key, lease.attempt - 1)
            cursor.execute(_STAND, _advanced(identity, points, None))


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
        for name, key, *stand, _ in cursor.execute(STANDS, (job, wanted)).fetchall()
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
