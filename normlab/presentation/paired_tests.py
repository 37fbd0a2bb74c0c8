"""Tests of paired differences, and their correction where there are several."""

from __future__ import annotations

from typing import List, Sequence

import numpy as np


def paired_t(differences: Sequence[float]) -> float | None:
    """
    Return the two-sided p of Student's paired t test that the mean of *differences* is 0.

    p = 2 P(T_{n-1} <= -|mean| sqrt(n) / sd). None for fewer than two differences, and for equal
    ones: without a spread the test has nothing to measure the mean by.
    """
    from scipy.special import stdtr  # large, and a server may never compare anything

    x = np.asarray(differences, dtype=float)
    if x.size < 2:
        return None
    sd = float(x.std(ddof=1))
    if sd <= 1e-12 * max(1.0, float(np.abs(x).max())):
        return None
    return float(2 * stdtr(x.size - 1, -abs(float(x.mean())) * x.size**0.5 / sd))


def holm(ps: Sequence[float | None]) -> List[float | None]:
    """
    Adjust *ps* so that comparing each with 5 % errs in any of them with at most 5 %.

    The i-th smallest of m is multiplied by m - i + 1; none is smaller than the one before it.

    Source:
        Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6(2),
        1979.
    """
    known = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    adjusted: List[float | None] = [None] * len(ps)
    least = 0.0
    for rank, (p, i) in enumerate(known):
        least = max(least, min(1.0, p * (len(known) - rank)))
        adjusted[i] = least
    return adjusted
