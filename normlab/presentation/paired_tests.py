"""Paired differences: their tests, the correction of several tests, and the seeds left out."""

from __future__ import annotations

from typing import Dict, List, Mapping, Protocol, Sequence, Set

import numpy as np

from normlab.not_finite import Name, tallied
from normlab.records import ResultRow


def paired_t(differences: Sequence[float]) -> float | None:
    """
    Return the two-sided p of Student's paired t test that the mean of *differences* is 0.

    p = 2 P(T_{n-1} <= -|mean| sqrt(n) / sd). None for fewer than two differences, and for equal
    ones, because the test needs a spread.
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
    Adjust *ps* so that comparing each with 5 % errs with a probability of at most 5 %.

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


class HasSeeds(Protocol):
    """Values by seed; those that are not finite are separate."""

    @property
    def values(self) -> Mapping[int, float]:
        """The finite ones."""

    @property
    def excluded(self) -> Mapping[int, Name]:
        """The names of the others."""


def excluded_of(a: HasSeeds, b: HasSeeds) -> Dict[int, Name]:
    """Return the common seeds with a non-finite value on one side; *a*'s value comes first."""
    shared = _seeds(a) & _seeds(b)
    found = {**b.excluded, **a.excluded}
    return {seed: found[seed] for seed in sorted(shared & set(found))}


def said(row: ResultRow, other: ResultRow) -> str:
    """Return which row has no difference from *other*, and why: `batch_size 2: 3 NaN`."""
    named = ", ".join(f"{path} {label}" for path, label in row.labels.items())
    return f"{named or 'all cells'}: {tallied(excluded_of(row, other).values())}"


def _seeds(of: HasSeeds) -> Set[int]:
    return {*of.values, *of.excluded}
