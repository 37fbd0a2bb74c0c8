"""
Decide whether one value is better than another by a margin, with more looks as seeds are added.

The paired differences d have the mean mu, about which something is `Claimed` (in a study, that mu
is above 0 by a margin *by*; the sign of d is chosen so that positive is better):

shows:       the interval of this look is above 0, so mu <= 0 is refuted;
contradicts: it is below *by*, so mu >= by is refuted;
undecided:   neither, yet.

The error rates, over all looks and all comparisons of a family together: at most 2.5 % false
*shows* and at most 2.5 % false *contradicts* if differences are normal, and at most 5 % if they
have heavy tails, are tied or rounded, or are skewed down to -2.8 (the bounds of `mean_bounds` at
the levels of `spending`). The power is *power* at mu = by if the differences' standard deviation is
at most `largest_sd`. No test can see an event that is so rare that it occurred for no seed. So the
first look waits until more frequent events would have occurred, and each result says, in *unseen*,
which share of the seeds an event may affect and still have been missed.
If the spread is unknown, no test has a given power for every spread. So a comparison that reaches
its limit says which effect it could have detected instead.
"""

from __future__ import annotations

import math
from typing import Dict, Hashable, List, Mapping, Sequence, TypeVar

import numpy as np

from normlab.presentation.judging import (
    CONTRADICTS,
    SHOWS,
    UNDECIDED,
    LookResult,
    Rule,
    Sample,
    judge,
)
from normlab.presentation.mean_bounds import SKEWNESS, widening
from normlab.presentation.spending import levels

ONE_SIDED = 0.025
_GROWTH = 1.5
_NODES = 64
K = TypeVar("K", bound=Hashable)


def sizes(first: int, at_most: int) -> List[int]:
    """List the number of seeds at each look: it grows by half, up to *at_most*."""
    found = [min(first, at_most)]
    while found[-1] < at_most:
        found.append(following(found[-1], at_most))
    return found


def following(n: int, at_most: int) -> int:
    """Return the number of seeds at the look after *n*; a small rest is added to the last look."""
    grown = math.ceil(_GROWTH * n)
    return at_most if 1.2 * grown > at_most else grown


def look(
    samples: Mapping[K, Sample], seeds: Sequence[int], rule: Rule, many: int, decided: Sequence[str]
) -> Dict[K, LookResult]:
    """
    Judge all comparisons that are still undecided.

    Each side is a separate family for Holm's method: if r of m comparisons already show, the others
    are tested at 2.5 % / (m - r), and again after each one that shows now.

    Args:
        samples: those of the undecided comparisons.
        seeds: the number of seeds at each look, this one last.
        rule: the margin, power and limit.
        many: the total number of comparisons.
        decided: the verdicts of earlier looks.

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
        judged = {k: judge(s, rule, shows, contradicts) for k, s in open_.items()}
        new = {k: f for k, f in judged.items() if f.verdict != UNDECIDED}
        found.update(new)
        if not new or len(found) == len(samples):
            return {k: found.get(k) or judged[k] for k in samples}


def largest_sd(seeds: Sequence[int], rule: Rule, many: int) -> float:
    """
    Return the largest standard deviation of the differences with the power of *rule*.

    At mu = by, P(shows) >= P(last look shows) - P(contradicts earlier) >= power, with 2.5 % at most
    of false contradictions. The bound of the last look depends on the skewness of the sample, which
    varies around 0 even if differences are normal.

    Args:
        seeds: the number of seeds at each look.
        rule: the margin, power and limit.
        many: the total number of comparisons; the first of Holm's levels is used.
    """
    from scipy.special import chdtri, ndtr, ndtri, stdtrit  # large, and a server may never decide

    n = seeds[-1]
    nodes = (np.arange(_NODES) + 0.5) / _NODES
    # for n normal numbers: the deviation, and the skewness with its variance
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
