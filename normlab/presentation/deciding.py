"""
Decide whether one value is better than another by a margin, with more looks as seeds are added.

Of paired differences d, turned so that positive is better, with mean mu and margin *by*:

shows:       the interval of this look lies above 0, so mu <= 0 is refuted;
contradicts: it lies below *by*, so mu >= by is refuted;
undecided:   neither, yet.

What is promised, over all looks and all comparisons of a family together: at most 2.5 % false
*shows* and at most 2.5 % false *contradicts*, where the differences are normal (Student's t at the
levels of `normlab.presentation.spending`, as in Jennison and Turnbull, "Group Sequential Methods",
1999, for unknown variance: exact for one look, 2.4 to 2.8 % by simulation for several), with
*power* at mu = by wherever the differences' standard deviation is at most `largest_sd`. By
simulation heavy tails, ties, rounded numbers and differences of two skewed losses stay below 5 %;
a difference that is itself skewed downwards does not: up to 7 % at skewness -1 and 14 % at -2 with
few seeds, as for any t test. A collapse so rare that no seed has met it is seen by no test.
No test that does not know the spread has a promised power for every spread: one that hits its
limit says which effect it could have seen instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, Hashable, List, Mapping, Sequence, Tuple, TypeVar

import numpy as np

from normlab.presentation.spending import levels

SHOWS, CONTRADICTS, UNDECIDED = "shows", "contradicts", "undecided"
FEWEST = 3
"""Seeds before the first look."""
ONE_SIDED = 0.025
_GROWTH = 1.5
_SAME = 1e-9  # relative: differences nearer than this are ties that rounding moved apart
K = TypeVar("K", bound=Hashable)


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


@dataclass(frozen=True)
class Finding:
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
    """The effect that this look would have shown with the requested power."""
    more: int | None
    """The number of seeds that would decide with the same mean and spread; None if decided."""


def sizes(first: int, at_most: int) -> List[int]:
    """List the number of seeds at each look: it grows by half, up to *at_most*."""
    found = [min(max(first, FEWEST), at_most)]
    while found[-1] < at_most:
        found.append(following(found[-1], at_most))
    return found


def following(n: int, at_most: int) -> int:
    """Return the number of seeds at the look after *n*; a small rest joins the last look."""
    grown = math.ceil(_GROWTH * n)
    return at_most if 1.2 * grown > at_most else grown


def bounds(
    differences: np.ndarray, failed: int, by: float, low_level: float, high_level: float
) -> Tuple[np.ndarray, np.ndarray]:
    """
    Bound the mean of *differences* from below and from above, each one-sided at its own level.

    mean -+ t_{n-1}(1 - level) s / sqrt(n). A seed that failed counts against either verdict: as
    the worst difference seen, -max|d| below and by + max|by - d| above. s is at least half of the
    smallest step between different values, the tested one among them, so that ties are judged as
    coarse numbers, about as in a sign test, and not as certainty.

    Shape:
        (..., n) -> (...), (...); n at least 1, and with *failed* at least 2.
    """
    low = _lower(differences, failed, low_level)
    return low, by - _lower(by - differences, failed, high_level)


def _lower(d: np.ndarray, failed: int, level: float) -> np.ndarray:
    from scipy.special import stdtrit

    worst = -np.abs(d).max(axis=-1, keepdims=True)
    x = np.concatenate([d, np.repeat(worst, failed, axis=-1)], axis=-1)
    n = x.shape[-1]
    sd = np.maximum(x.std(axis=-1, ddof=1), _step(x) / 2)
    bound: np.ndarray = x.mean(axis=-1) - stdtrit(n - 1, 1 - level) * sd / n**0.5
    return bound


def _step(x: np.ndarray) -> np.ndarray:
    """Find the smallest step between different values of *x* and 0; 0 if all are 0."""
    values = np.sort(np.concatenate([x, np.zeros_like(x[..., :1])], axis=-1), axis=-1)
    steps = np.diff(values, axis=-1)
    steps[steps <= _SAME * np.abs(values).max(axis=-1, keepdims=True)] = np.inf
    least = steps.min(axis=-1)
    return np.where(np.isfinite(least), least, 0.0)


def look(
    samples: Mapping[K, Sample], seeds: Sequence[int], rule: Rule, many: int, decided: Sequence[str]
) -> Dict[K, Finding]:
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
    found: Dict[K, Finding] = {}
    while True:
        verdicts = [*decided, *(f.verdict for f in found.values())]
        low, high = (_level(seeds, rule, many - verdicts.count(v)) for v in (SHOWS, CONTRADICTS))
        open_ = {k: s for k, s in samples.items() if k not in found}
        judged = {k: _judge(s, rule, low, high) for k, s in open_.items()}
        new = {k: f for k, f in judged.items() if f.verdict != UNDECIDED}
        found.update(new)
        if not new or len(found) == len(samples):
            return {k: found.get(k) or judged[k] for k in samples}


def largest_sd(seeds: Sequence[int], rule: Rule, many: int) -> float:
    """
    Return the largest standard deviation of the differences at which the power is as wanted.

    At mu = by, P(shows) >= P(T > t) - P(contradicts earlier) >= power, for the last look alone
    and 2.5 % at most of false contradictions.

    Args:
        seeds: how many there are at each look, all of them.
        rule: what is asked.
        many: comparisons in all; the first of Holm's levels is taken.
    """
    from scipy.special import nctdtrinc, stdtrit

    n = seeds[-1]
    critical = float(stdtrit(n - 1, 1 - _level(seeds, rule, many)))
    shift = float(nctdtrinc(n - 1, 1 - rule.power - ONE_SIDED, critical))
    return float(rule.by * n**0.5 / shift)


def _level(seeds: Sequence[int], rule: Rule, among: int) -> float:
    fractions = tuple(n / rule.at_most for n in seeds)
    return levels(fractions, ONE_SIDED / max(among, 1))[-1]


def _judge(sample: Sample, rule: Rule, low_level: float, high_level: float) -> Finding:
    d = np.asarray(sample.differences, dtype=float)
    n = d.size + sample.failed
    counts = (d.size, sample.failed, int((d == 0).sum()))
    mean = float(d.mean()) if d.size else None
    sd = float(d.std(ddof=1)) if d.size > 1 else None
    if not d.size or n < FEWEST:
        return Finding(UNDECIDED, *counts, mean, sd, None, None, None, None)
    low, high = (float(b) for b in bounds(d, sample.failed, rule.by, low_level, high_level))
    verdict = SHOWS if low > 0 else CONTRADICTS if high < rule.by else UNDECIDED
    below = float(d.mean()) - low  # with all that widens the interval: ties and failures
    seen = below + (sd or 0.0) / n**0.5 * _normal(rule.power)
    more = None if verdict != UNDECIDED else _more(n, float(d.mean()), low, high, rule)
    return Finding(verdict, *counts, mean, sd, low, high, seen, more)


def _more(n: int, mean: float, low: float, high: float, rule: Rule) -> int:
    # half widths go with 1 / sqrt(n); one of mean > 0 and mean < by holds by half the margin
    ratio = min(_ratio(mean - low, mean), _ratio(high - mean, rule.by - mean))
    return max(1, math.ceil(n * (ratio**2 - 1)))


def _ratio(half: float, room: float) -> float:
    return half / room if room > 0 else math.inf


def _normal(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))
