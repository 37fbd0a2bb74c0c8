"""Judge one comparison at one look: a claim about a mean, and the bounds of the mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Sequence, Tuple

import numpy as np

from normlab.presentation.mean_bounds import SMALLEST, lower, upper
from normlab.specs.decisions import MISSED

SHOWS, CONTRADICTS, UNDECIDED = "shows", "contradicts", "undecided"


@dataclass(frozen=True)
class Claimed:
    """
    A claim about a mean: that it is above a limit, below one, or between two.

    It shows if the interval is inside, and is contradicted if the interval is outside, or not
    inside by *margin*.
    """

    above: float | None = None
    below: float | None = None
    margin: float = 0.0


@dataclass(frozen=True)
class Rule:
    """The margin, the power at it, and the largest number of seeds."""

    by: float
    power: float
    at_most: int


@dataclass(frozen=True)
class Sample:
    """The differences for seeds that both sides have, and the number of other seeds."""

    differences: Tuple[float, ...]
    failed: int = 0
    claimed: Claimed | None = None
    """None claims that the mean is above 0 by the margin of the rule."""


@dataclass(frozen=True)
class LookResult:
    """The result of one look; bounds are None if there are too few seeds."""

    verdict: str
    pairs: int
    failed: int
    ties: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    seen: float | None
    """How far inside its limit a mean would have shown at this look, with the requested power."""
    more: int | None
    """How many more seeds would decide with this mean and spread; None if decided, or never."""
    unseen: float | None = None
    """An event in a smaller share of the seeds has been missed with a probability above 3 %."""


def judge(sample: Sample, rule: Rule, shows: float, contradicts: float) -> LookResult:
    """Judge *sample* at the one-sided levels of this look for *shows* and *contradicts*."""
    d = np.asarray(sample.differences, dtype=float)
    n = d.size + sample.failed
    counts = (d.size, sample.failed, int((d == 0).sum()))
    mean = float(d.mean()) if d.size else None
    sd = float(d.std(ddof=1)) if d.size > 1 else None
    unseen = 1 - MISSED ** (1 / n) if n else None
    if mean is None or n < SMALLEST:
        return LookResult(UNDECIDED, *counts, mean, sd, None, None, None, None, unseen)
    claimed = sample.claimed or Claimed(above=0.0, margin=rule.by)
    sides = _sides(d, sample.failed, claimed, shows, contradicts)
    verdict = _verdict(sides)
    low, high = _interval(sides)
    room = max(mean - low, high - mean) if len(sides) > 1 else sides[0].half(mean)
    seen = room + (sd or 0.0) / n**0.5 * _normal(rule.power)
    more = None if verdict != UNDECIDED else _more(n, mean, sides)
    return LookResult(verdict, *counts, mean, sd, low, high, seen, more, unseen)


@dataclass(frozen=True)
class _Side:
    """One limit of a claim, and the bounds that are compared with it, as a lower limit."""

    sign: int  # -1 for an upper limit, for which all numbers here have the opposite sign
    limit: float
    """The claim is that the mean is above it."""
    end: float
    """Below it, the claim is contradicted."""
    low: float
    high: float

    def half(self, mean: float) -> float:
        return self.sign * mean - self.low


def _sides(
    d: np.ndarray, failed: int, claimed: Claimed, shows: float, contradicts: float
) -> List[_Side]:
    limits = [(1, claimed.above), (-1, None if claimed.below is None else -claimed.below)]
    found = []
    for sign, limit in limits:
        if limit is not None:
            end = limit + claimed.margin
            low = float(lower(sign * d, failed, shows, limit))
            high = float(upper(sign * d, failed, contradicts, end))
            found.append(_Side(sign, limit, end, low, high))
    return found


def _verdict(sides: Sequence[_Side]) -> str:
    if all(side.low > side.limit for side in sides):
        return SHOWS
    return CONTRADICTS if any(side.high < side.end for side in sides) else UNDECIDED


def _interval(sides: Sequence[_Side]) -> Tuple[float, float]:
    if len(sides) == 2:
        return sides[0].low, -sides[1].low
    (side,) = sides
    return (side.low, side.high) if side.sign == 1 else (-side.high, -side.low)


def _more(n: int, mean: float, sides: Sequence[_Side]) -> int | None:
    # half widths are proportional to 1 / sqrt(n); the first verdict in reach counts
    shows = max(_ratio(s.half(mean), s.sign * mean - s.limit) for s in sides)
    contradicts = min(_ratio(s.high - s.sign * mean, s.end - s.sign * mean) for s in sides)
    ratio = min(shows, contradicts)
    return max(1, math.ceil(n * (ratio**2 - 1))) if math.isfinite(ratio) else None


def _ratio(half: float, room: float) -> float:
    return half / room if room > 0 else math.inf


def _normal(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))
