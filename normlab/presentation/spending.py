"""The significance level of each of several looks at growing data, for a small total error."""

from __future__ import annotations

from functools import lru_cache
from typing import List, Tuple

import numpy as np

_POINTS = 401
_DEEPEST = -8.0  # standard deviations below zero, where the density is negligible


def spent(fraction: float, level: float) -> float:
    """
    Return the part of *level* that may be spent at *fraction* of the largest sample.

    level * min(1, fraction)^2: the first looks get enough to decide very large effects, but little
    enough that few skewed seeds do no harm.

    Source:
        Kim and DeMets, "Design and analysis of group sequential tests based on the type I error
        spending rate function", Biometrika 74(1), 1987, doi:10.1093/biomet/74.1.149, the family
        alpha t^rho with rho = 2.
    """
    return level * min(1.0, fraction) ** 2


def levels(fractions: Tuple[float, ...], level: float) -> Tuple[float, ...]:
    """
    Return the one-sided level at which each look tests.

    Args:
        fractions: the fraction of the largest sample at each look, increasing.
        level: the probability that any look errs, one-sided, when there is no effect.
    """
    return crossing_levels(fractions, tuple(spent(t, level) for t in fractions))


@lru_cache(maxsize=4096)
def crossing_levels(fractions: Tuple[float, ...], sums: Tuple[float, ...]) -> Tuple[float, ...]:
    """
    Return the one-sided level of each look so that the sums of errors are *sums*.

    The density of the score Z sqrt(t) of undecided comparisons is carried from look to look by
    numerical integration; each boundary c solves P(no earlier look stops, Z > c) = the increment.

    Args:
        fractions: the fraction of the largest sample at each look, increasing.
        sums: the level that may be spent up to each look.

    Source:
        Armitage, McPherson and Rowe, "Repeated significance tests on accumulating data", JRSS A
        132(2), 1969, doi:10.2307/2343787; with given sums: Lan and DeMets, "Discrete sequential
        boundaries for clinical trials", Biometrika 70(3), 1983, doi:10.1093/biomet/70.3.659.
    """
    from scipy.special import ndtr  # large, and a server may never decide anything

    found: List[float] = []
    at, weights = np.zeros(1), np.ones(1)  # the score, and its probability mass
    before, gone = 0.0, 0.0
    for t, total in zip(fractions, sums):
        step = (t - before) ** 0.5
        increment = max(total - gone, 0.0)
        bound = _bound(at, weights, step, t**0.5, increment)
        found.append(float(ndtr(-bound / t**0.5)))
        grid = np.linspace(_DEEPEST * t**0.5, min(bound, -_DEEPEST * t**0.5), _POINTS)
        density = np.exp(-0.5 * ((grid[:, None] - at[None, :]) / step) ** 2) @ weights
        rule = np.full(_POINTS, grid[1] - grid[0])
        rule[[0, -1]] /= 2  # trapezoids
        at, weights = grid, density * rule / (step * (2 * np.pi) ** 0.5)
        before, gone = t, max(total, gone)
    return tuple(found)


def _bound(
    at: np.ndarray, weights: np.ndarray, step: float, scale: float, increment: float
) -> float:
    """Solve for the score above which the mass is *increment*, by bisection."""
    from scipy.special import ndtr

    low, high = _DEEPEST * scale, -2 * _DEEPEST * scale
    for _ in range(60):
        middle = (low + high) / 2
        if float(ndtr((at - middle) / step) @ weights) > increment:
            low = middle
        else:
            high = middle
    return high
