"""
Decide whether one value is better than another by a margin, with more looks as seeds are added.

Of paired differences d with mean mu, of which something is `Claimed` (in a study, that mu lies
above 0 by a margin *by*, where d is turned so that positive is better):

shows:       the interval of this look lies above 0, so mu <= 0 is refuted;
contradicts: it lies below *by*, so mu >= by is refuted;
undecided:   neither, yet.

What is promised, over all looks and all comparisons of a family together: at most 2.5 % false
*shows* and at most 2.5 % false *contradicts*, where differences are normal, and at most 5 % where
they have heavy tails, are tied or rounded, or are skewed down to -2.8 (the bounds of `mean_bounds`
at the levels of `spending`), with *power* at mu = by wherever the differences' standard deviation
is at most `largest_sd`. What strikes so rarely that no seed has met it is seen by no test: so the
first look waits until what strikes more often would have been met, and each finding says, in
*unseen*, which share of the seeds something may strike and still have been missed.
No test that does not know the spread has a promised power for every spread: one that hits its
limit says which effect it could have seen instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, Hashable, List, Mapping, Sequence, Tuple, TypeVar

import numpy as np

from normlab.presentation.mean_bounds import SKEWNESS, SMALLEST, lower, upper, widening
from normlab.presentation.spending import levels
from normlab.specs.decisions import MISSED

SHOWS, CONTRADICTS, UNDECIDED = "shows", "contradicts", "undecided"
ONE_SIDED = 0.025
_GROWTH = 1.5
_NODES = 64
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Claimed:
    """
    What is claimed of a mean: that it lies above a limit, below one, or between two.

    Shown where the interval lies inside; contradicted where it lies outside, or not inside by
    *margin*.
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
    """None: that the mean lies above 0, by the margin of the rule."""


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
    """How far inside its limit a mean would have shown at this look with the requested power."""
    more: int | None
    """The number of seeds that would decide with this mean and spread; None: decided, or none."""
    unseen: float | None = None
    """What affects a smaller share of seeds has been missed with a probability above 3 %."""


def sizes(first: int, at_most: int) -> List[int]:
    """List the number of seeds at each look: it grows by half, up to *at_most*."""
    found = [min(first, at_most)]
    while found[-1] < at_most:
        found.append(following(found[-1], at_most))
    return found


def following(n: int, at_most: int) -> int:
    """Return the number of seeds at the look after *n*; a small rest joins the last look."""
    grown = math.ceil(_GROWTH * n)
    return at_most if 1.2 * grown > at_most else grown


def look(
    samples: Mapping[K, Sample], seeds: Sequence[int], rule: Rule, many: int, decided: Sequence[str]
) -> Dict[K, LookResult]:
    """
    Judge all comparisons that are still undecided.

    Each side is a family of its own after Holm: with m comparisons of which r already show, the
    others are tested at 2.5 % / (m - r), again after each one that shows now.

    Args:
        samples: of the undecided comparisons.
        seeds: how many there were at each look, this one last.
        rule: what is asked.
        many: comparisons in all.
        decided: verdicts of earlier looks.

    Source:
        Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6(2),
        1979; with group sequential boundaries, where each look tests at the level of that
        moment and earlier ones are not tested again: Maurer and Bretz, "Multiple testing in
        group sequential trials using graphical approaches", Stat. Biopharm. Res. 5(4), 2013,
        doi:10.1080/19466315.2013.807748; Tamhane et al., "Group sequential Holm and Hochberg
        procedures", Statist. Med. 40(24), 2021, doi:10.1002/sim.9128.
    """
    found: Dict[K, LookResult] = {}
    while True:
        verdicts = [*decided, *(f.verdict for f in found.values())]
        shows, contradicts = (
            level_of(seeds, rule.at_most, many - verdicts.count(v)) for v in (SHOWS, CONTRADICTS)
        )
        open_ = {k: s for k, s in samples.items() if k not in found}
        judged = {k: _judge(s, rule, shows, contradicts) for k, s in open_.items()}
        new = {k: f for k, f in judged.items() if f.verdict != UNDECIDED}
        found.update(new)
        if not new or len(found) == len(samples):
            return {k: found.get(k) or judged[k] for k in samples}


def largest_sd(seeds: Sequence[int], rule: Rule, many: int) -> float:
    """
    Return the largest standard deviation of the differences at which the power is as wanted.

    At mu = by, P(shows) >= P(last look shows) - P(contradicts earlier) >= power, with 2.5 % at most
    of false contradictions. The bound of the last look depends on the skewness of the sample, which
    scatters about 0 even where differences are normal.

    Args:
        seeds: how many there are at each look, all of them.
        rule: what is asked.
        many: comparisons in all; the first of Holm's levels is taken.
    """
    from scipy.special import chdtri, ndtr, ndtri, stdtrit  # large, and a server may never decide

    n = seeds[-1]
    nodes = (np.arange(_NODES) + 0.5) / _NODES
    # of n normal numbers: the deviation, and the skewness with its variance
    spread = (chdtri(n - 1, nodes) / (n - 1)) ** 0.5
    scatter = (6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3))) ** 0.5
    skewness = np.minimum(scatter * ndtri(nodes), -SKEWNESS)
    quantile = stdtrit(n - 1, 1 - level_of(seeds, rule.at_most, many))
    critical = n**0.5 * widening(quantile, n, skewness[:, None]) * spread
    low, high = 0.0, float(critical.max()) + 10
    for _ in range(50):
        middle = (low + high) / 2
        enough = float(ndtr(middle - critical).mean()) >= rule.power + ONE_SIDED
        low, high = (low, middle) if enough else (middle, high)
    return float(rule.by * n**0.5 / high)


def level_of(seeds: Sequence[int], at_most: int, among: int) -> float:
    """Return the one-sided level of the look with the last of *seeds*, for one of *among*."""
    fractions = tuple(n / at_most for n in seeds)
    return levels(fractions, ONE_SIDED / max(among, 1))[-1]


def _judge(sample: Sample, rule: Rule, shows: float, contradicts: float) -> LookResult:
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
    """One limit of what is claimed, and the bounds that are compared with it, turned upwards."""

    sign: int  # -1: an upper limit, and everything here has changed its sign
    limit: float
    """The mean is claimed to lie above it."""
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
    # half widths go with 1 / sqrt(n); it is decided by the first verdict that comes in reach
    shows = max(_ratio(s.half(mean), s.sign * mean - s.limit) for s in sides)
    contradicts = min(_ratio(s.high - s.sign * mean, s.end - s.sign * mean) for s in sides)
    ratio = min(shows, contradicts)
    return max(1, math.ceil(n * (ratio**2 - 1))) if math.isfinite(ratio) else None


def _ratio(half: float, room: float) -> float:
    return half / room if room > 0 else math.inf


def _normal(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))
