"""The results of a job's diagnostics as matrices of layers and readings, from one query."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray

from normlab.not_finite import Places, name_of, put_back
from normlab.records import DiagnosticRecord
from normlab.specs.diagnostics import MetricMeaning, measured
from service.results.chunks import PACKED, Columns, merge, thin_out, unpack
from service.results.metrics import RESUMED
from service.store.database import Database, cursor_of
from service.store.identity import parse_id

_KEYS = (
    "select k.id, k.name from metric_last l join metric_key k on k.id = l.key"
    " where l.job = %s order by k.name"
)
_READ = (
    f"select key, attempt, {PACKED} from metric_chunk"
    " where job = %s and key = any(%s) order by key, attempt, step0"
)
_NUMBERS = re.compile(r"(\d+)")
_NORMS = "weight_norms"
_SPREAD = (("smallest", np.min), ("mean", np.mean), ("largest", np.max))


@dataclass(frozen=True)
class Matrix:
    """One measure: *values* has a row for each of *sites*, a column for each of *steps*."""

    diagnostic: str
    measure: str
    sites: list[str]
    steps: NDArray[Any]
    values: NDArray[np.float64]
    not_finite: Places = field(default_factory=dict)
    """The readings that are NaN or infinite; other values that are not finite were not measured."""


def read(database: Database, job: str, most_readings: int) -> list[Matrix]:
    """
    Return every measure of the diagnostics of *job*, its layers by name.

    Args:
        most_readings: more readings are averaged in this number of buckets of updates.
    """
    key = parse_id(job)
    with database.autocommit() as connection:
        cursor = cursor_of(connection)
        named = ((k, measured(name)) for k, name in cursor.execute(_KEYS, (key,)).fetchall())
        wanted = {k: found for k, found in named if found is not None}
        series = _series(cursor, key, list(wanted)) if wanted else {}
    return _matrices(wanted, series, most_readings)


def _series(cursor: psycopg.Cursor[Any], job: UUID, keys: Sequence[int]) -> dict[int, Columns]:
    resumed = dict(cursor.execute(RESUMED, (job,)).fetchall())
    parts: dict[int, dict[int, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for key, attempt, *chunk in cursor.execute(_READ, (job, list(keys))).fetchall():
        parts[key][attempt].append(chunk)
    return {
        key: merge({attempt: unpack(chunks) for attempt, chunks in found.items()}, resumed)
        for key, found in parts.items()
    }


def _matrices(
    wanted: Mapping[int, MetricMeaning], series: Mapping[int, Columns], most: int
) -> list[Matrix]:
    grouped: dict[tuple[str, str], dict[str, tuple[Any, Any]]] = defaultdict(dict)
    for key, points in series.items():
        found = wanted[key]
        grouped[found.diagnostic, found.measure][found.site] = _thinned(points, most)
    return [_matrix(*names, rows) for names, rows in sorted(grouped.items())]


def _thinned(points: Columns, most: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
    if len(points) <= most:
        return points.steps, points.values
    buckets = thin_out(points, most)
    return buckets.steps, buckets.mean


def _matrix(diagnostic: str, measure: str, rows: Mapping[str, tuple[Any, Any]]) -> Matrix:
    sites = sorted(rows, key=_naturally)
    steps = np.unique(np.concatenate([at for at, _ in rows.values()]))
    values = np.full((len(rows), len(steps)), np.nan)
    was_read = np.zeros(values.shape, bool)
    for i, site in enumerate(sites):
        at, found = rows[site]
        places = np.searchsorted(steps, at)
        values[i, places] = found
        was_read[i, places] = True
    return Matrix(diagnostic, measure, sites, steps, values, _named(values, was_read))


def _named(values: NDArray[np.float64], was_read: NDArray[np.bool_]) -> Places:
    places = np.argwhere(was_read & ~np.isfinite(values))
    found = ((i, j, name_of(values[i, j])) for i, j in places)
    return {f"/values/{i}/{j}": name for i, j, name in found if name is not None}


def _naturally(site: str) -> list[tuple[int, str]]:
    """Sort numbers in names by value: block 2 before block 10."""
    return [(int(part or 0), "") if part.isdigit() else (0, part) for part in _NUMBERS.split(site)]


def of_norms(records: Iterable[DiagnosticRecord]) -> list[Matrix]:
    """Return the recorded norms of weights as matrices: the extremes and the mean of each layer."""
    found = [one for one in records if one.name == _NORMS]
    if not found:
        return []
    sites = list(found[0].record["norms"])
    steps = np.array([one.step for one in found])
    norms = [put_back(deepcopy(one.record))["norms"] for one in found]
    return [_spread(name, sites, steps, norms, reduce) for name, reduce in _SPREAD]


def _spread(
    name: str, sites: list[str], steps: NDArray[Any], norms: Sequence[Any], reduce: Any
) -> Matrix:
    # null comes from a server that did not store which value it was
    values = np.array([[reduce(np.array(one[site], float)) for one in norms] for site in sites])
    named = _named(values, np.ones(values.shape, bool))
    return Matrix(_NORMS, name, sites, steps, values, named)
