"""One metric of many jobs, for one chart: read one after another over one connection."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from normlab.errors import NotFound
from service.results.metrics import last_value, read_points, shown
from service.store.database import Database, cursor_of
from service.store.identity import parse_id

_LASTS = (
    "select l.job, k.id, l.step, l.value, l.min, l.max"
    " from metric_last l join metric_key k on k.id = l.key where k.name = %s and l.job = any(%s)"
)
_RESUMED = (
    "select job, number, resumed_from_step from attempt"
    " where job = any(%s) and resumed_from_step is not null"
)


def read(
    database: Database,
    jobs: Sequence[str],
    seen: Collection[str],
    name: str,
    from_step: int | None = None,
    to_step: int | None = None,
    max_points: int | None = None,
    times: bool = True,
) -> list[dict[str, Any]]:
    """
    Return one metric of each of *jobs*, as metrics.read_arrays does; empty where there is none.

    Args:
        seen: those of the jobs that the caller may see; the others count as without the metric.
        times: whether curves have their times; without them a long curve is read faster.
    """
    keys = _keys(jobs, seen)
    with database.autocommit() as connection:
        cursor = cursor_of(connection)
        rows = cursor.execute(_LASTS, (name, list(keys.values()))).fetchall()
        lasts = {job: (key, last_value(*last)) for job, key, *last in rows}
        resumed: Mapping[UUID, dict[int, int]] = defaultdict(dict)
        for job, attempt, step in cursor.execute(_RESUMED, (list(lasts),)).fetchall():
            resumed[job][attempt] = step
        found: dict[UUID, dict[str, Any]] = {}
        for job, (key, last) in lasts.items():
            points = read_points(cursor, job, key, from_step, to_step, resumed[job], times)
            found[job] = shown(name, last, points, max_points)
            found[job] |= {} if times else {"times": []}
    return [found[keys[job]] if keys.get(job) in found else _nothing(name) for job in jobs]


def _keys(jobs: Sequence[str], seen: Collection[str]) -> dict[str, UUID]:
    keys = {}
    for job in jobs:
        if job in seen:
            with suppress(NotFound):  # it cannot be an id
                keys[job] = parse_id(job)
    return keys


def _nothing(name: str) -> dict[str, Any]:
    columns: dict[str, Any] = {column: [] for column in ("steps", "values", "times")}
    return {
        "name": name, **columns, "min": None, "max": None, "points": 0, "last": None,
        "not_finite": {},
    }  # fmt: skip
