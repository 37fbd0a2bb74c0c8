"""Metric points as columns of bytes: packing, merging over attempts, and downsampling."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normlab.errors import InvalidSpec

MAX_POINTS = 4096
PACKED_WITHOUT_TIMES = (
    "n, t0, step0, case when step1 - step0 = n - 1 then null else steps end as steps, vals,"
    " null::bytea as times"
)
PACKED = PACKED_WITHOUT_TIMES.replace("null::bytea as times", "times")
"""The columns of a Stored in SQL; consecutive steps are sent as a range."""
Stored = tuple[int, float, int, bytes | None, bytes, bytes | None]
"""A chunk as PACKED reads it."""
_LARGEST_STEP = 2**31 - 1


@dataclass(frozen=True)
class Columns:
    """Points with increasing steps."""

    steps: NDArray[np.int32]
    values: NDArray[np.float64]
    times: NDArray[np.float64]
    """Seconds since the epoch."""

    def __len__(self) -> int:
        return len(self.steps)

    def where(self, kept: NDArray[np.bool_]) -> Columns:
        """Keep the points that *kept* marks."""
        return Columns(self.steps[kept], self.values[kept], self.times[kept])

    def within(self, from_step: int | None, to_step: int | None) -> Columns:
        """Keep the points between two steps, inclusive; None means no bound."""
        first = 0 if from_step is None else bisect_left(self.steps, from_step)
        last = len(self) if to_step is None else bisect_right(self.steps, to_step)
        kept = slice(first, last)
        return Columns(self.steps[kept], self.values[kept], self.times[kept])


NOTHING = Columns(np.empty(0, np.int32), np.empty(0), np.empty(0))


@dataclass(frozen=True)
class Chunk:
    """Some points of one metric, packed, with their range of steps."""

    step0: int
    step1: int
    n: int
    t0: float
    steps: bytes
    vals: bytes
    times: bytes


@dataclass(frozen=True)
class Buckets:
    """A downsampled series: for each range of steps, its first step and its values."""

    steps: NDArray[np.int32]
    times: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def columns(steps: ArrayLike, values: ArrayLike, times: ArrayLike) -> Columns:
    """
    Make columns from reported points: sorted by step; the last point of a step counts.

    Raises:
        InvalidSpec: if the columns differ in length, or a step does not fit into 31 bits.
    """
    s = np.asarray(steps, dtype=np.int64)
    v = np.asarray(values, dtype=np.float64)
    t = np.asarray(times, dtype=np.float64)
    if not len(s) == len(v) == len(t):
        raise InvalidSpec(f"columns differ: {len(s)} steps, {len(v)} values, {len(t)} times")
    if len(s) and (s.min() < 0 or s.max() > _LARGEST_STEP):
        raise InvalidSpec(f"steps {s.min()} to {s.max()}: each must lie in 0 to {_LARGEST_STEP}")
    order = np.argsort(s, kind="stable")
    return _last_of_equal_steps(Columns(s[order].astype(np.int32), v[order], t[order]))


def pack(points: Columns) -> Iterator[Chunk]:
    """Pack *points* into chunks of at most MAX_POINTS."""
    for start in range(0, len(points), MAX_POINTS):
        part = slice(start, start + MAX_POINTS)
        yield _chunk(points.steps[part], points.values[part], points.times[part])


def unpack(chunks: Sequence[Stored]) -> Columns:
    """Undo pack for *chunks* laid end to end; times that were not read are not numbers."""
    found = _room(sum(chunk[0] for chunk in chunks))
    begin = 0
    for n, t0, step0, steps, vals, times in chunks:
        place = slice(begin, begin + n)
        counted = np.arange(step0, step0 + n) if steps is None else np.frombuffer(steps, "<i4")
        found.steps[place] = counted
        found.values[place] = np.frombuffer(vals, "<f8")
        since = np.nan if times is None else np.frombuffer(times, "<f4")
        np.add(since, t0, out=found.times[place], dtype=np.float64)
        begin += n
    return found


def merge(parts: Mapping[int, Columns], resumed_from: Mapping[int, int]) -> Columns:
    """
    Merge the reports of all attempts: each counts from the step it resumed from until the next
    attempt begins. If two attempts have the same step, the later one counts.

    *parts* maps attempts to points; *resumed_from* has every attempt that began to train.
    """
    kept = []
    for attempt in sorted(parts):
        part = parts[attempt]
        ends = min((s for a, s in resumed_from.items() if a > attempt), default=_LARGEST_STEP)
        kept.append(part.within(resumed_from.get(attempt, 0), ends))
    if len(kept) == 1:
        return kept[0]
    steps = np.concatenate([k.steps for k in kept]) if kept else NOTHING.steps
    order = np.argsort(steps, kind="stable")
    values = np.concatenate([k.values for k in kept]) if kept else NOTHING.values
    times = np.concatenate([k.times for k in kept]) if kept else NOTHING.times
    return _last_of_equal_steps(Columns(steps[order], values[order], times[order]))


def thin_out(points: Columns, buckets: int) -> Buckets:
    """Divide the range of steps into *buckets* equal parts; omit empty parts."""
    if not len(points):
        return Buckets(points.steps, points.times, *[np.empty(0)] * 3)
    first, last = int(points.steps[0]), int(points.steps[-1])
    edges = np.ceil(first + np.arange(buckets) * (last - first + 1) / buckets)
    starts = np.unique(np.searchsorted(points.steps, np.minimum(edges, last).astype(np.int32)))
    starts = starts[starts < len(points)]  # a short range has empty parts at its end
    finite = ~np.isnan(points.values)
    counts = np.add.reduceat(finite, starts, dtype=np.int64)
    with np.errstate(over="ignore", invalid="ignore"):  # infinities of both signs have no mean
        sums = np.add.reduceat(np.where(finite, points.values, 0.0), starts)
        mean = np.divide(sums, counts, out=np.full(len(starts), np.nan), where=counts > 0)
    return Buckets(
        points.steps[starts],
        points.times[starts],
        mean,
        np.fmin.reduceat(points.values, starts),
        np.fmax.reduceat(points.values, starts),
    )


def _chunk(
    steps: NDArray[np.int32], values: NDArray[np.float64], times: NDArray[np.float64]
) -> Chunk:
    t0 = float(times[0])
    return Chunk(
        step0=int(steps[0]),
        step1=int(steps[-1]),
        n=len(steps),
        t0=t0,
        steps=steps.astype("<i4", copy=False).tobytes(),
        vals=values.astype("<f8", copy=False).tobytes(),
        times=(times - t0).astype("<f4").tobytes(),
    )


def _room(points: int) -> Columns:
    return Columns(np.empty(points, np.int32), np.empty(points), np.empty(points))


def _last_of_equal_steps(points: Columns) -> Columns:
    if not len(points):
        return points
    last = np.append(points.steps[1:] != points.steps[:-1], True)
    return points if last.all() else points.where(last)
