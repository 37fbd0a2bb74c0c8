"""
Bounds of a mean of paired differences that are rarely wrong for skewed differences.

Student's t is wrong too often if the differences are skewed towards the tested value: few seeds
rarely include the long tail, so mean and deviation both look too good (10 to 13 % instead of 2.5 %
for an exponential tail). Hall's transformation removes the skewness from the statistic. Few seeds
say little about skewness either, so a skewness of at least `SKEWNESS` against the verdict is
assumed.
"""

from __future__ import annotations

import numpy as np

SKEWNESS = 1.25
"""The skewness that is assumed against each verdict even if a sample looks symmetric."""
SMALLEST = 3
"""The number of values that a bound needs; with fewer there is no skewness."""
_SAME = 1e-9  # relative; closer differences are ties that rounding separated


def lower(differences: np.ndarray, failed: int, level: float, tested: float = 0.0) -> np.ndarray:
    """
    Bound the mean of *differences* from below, one-sided at *level*.

    mean - s w(t_{n-1}(1 - level) / sqrt(n)), with w of `widening`. A seed that failed counts as the
    worst difference seen, *tested* - max|d - tested|. s is at least half of the smallest step
    between different values, including the tested one, so that ties count as coarse numbers, about
    as in a sign test, and not as certainty.

    Args:
        differences: one number per seed that has one.
        failed: seeds without a number.
        level: the probability that the mean is below the bound.
        tested: the value that the bound is compared with.

    Shape:
        (..., n) -> (...); n at least 1, and with *failed* at least `SMALLEST`.
    """
    from scipy.special import stdtrit  # large, and a server may never decide anything

    d = differences - tested
    worst = -np.abs(d).max(axis=-1, keepdims=True)
    x = np.concatenate([d, np.repeat(worst, failed, axis=-1)], axis=-1)
    n = x.shape[-1]
    sd = np.maximum(x.std(axis=-1, ddof=1), _step(x) / 2)
    quantile = stdtrit(n - 1, 1 - level)
    seen = widening(quantile, n, np.minimum(_skewness(x), -SKEWNESS))
    wide = np.maximum(seen, widening(quantile, n, -SKEWNESS))  # far out, skewness widens less
    bound: np.ndarray = x.mean(axis=-1) - sd * wide
    return tested + bound


def upper(differences: np.ndarray, failed: int, level: float, tested: float = 0.0) -> np.ndarray:
    """Bound the mean of *differences* from above, as `lower` does from below."""
    return -lower(-differences, failed, level, -tested)


def widening(quantile: np.ndarray | float, n: int, skewness: np.ndarray | float) -> np.ndarray:
    """
    Return how many standard deviations the bound is below the mean.

    Hall's g(S) = S + k S^2 / 3 + k^2 S^3 / 27 + k / (6 n) of S = (mean - mu) / s, with skewness k,
    is distributed about as Student's t / sqrt(n). It is monotone, so g(S) = quantile / sqrt(n) has
    one solution, S = 3 / k ((1 + k (quantile / sqrt(n) - k / (6 n)))^(1/3) - 1); never less than
    Student's.

    Source:
        Hall, "On the removal of skewness by transformation", JRSS B 54(1), 1992, as quoted by other
        papers; the quantile is Student's instead of the normal one.
    """
    k = np.asarray(skewness, dtype=float)
    plain = np.asarray(quantile) / n**0.5
    found: np.ndarray = 3 / k * (np.cbrt(1 + k * (plain - k / (6 * n))) - 1)
    wide: np.ndarray = np.maximum(found, plain)
    return wide


def _skewness(x: np.ndarray) -> np.ndarray:
    """Estimate the skewness, sqrt(n (n - 1)) / (n - 2) m3 / m2^1.5; 0 if all values are equal."""
    n = x.shape[-1]
    centered = x - x.mean(axis=-1, keepdims=True)
    m2, m3 = (centered**2).mean(axis=-1), (centered**3).mean(axis=-1)
    rounding = (_SAME * np.abs(x).max(axis=-1)) ** 2
    spread = np.where(m2 > rounding, m2, 1.0)
    found: np.ndarray = (n * (n - 1)) ** 0.5 / (n - 2) * m3 / spread**1.5
    return np.where(m2 > rounding, found, 0.0)


def _step(x: np.ndarray) -> np.ndarray:
    """Find the smallest step between different values of *x* and 0; 0 if all are 0."""
    values = np.sort(np.concatenate([x, np.zeros_like(x[..., :1])], axis=-1), axis=-1)
    steps = np.diff(values, axis=-1)
    steps[steps <= _SAME * np.abs(values).max(axis=-1, keepdims=True)] = np.inf
    least = steps.min(axis=-1)
    return np.where(np.isfinite(least), least, 0.0)
