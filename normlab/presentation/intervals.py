"""Means with their uncertainty over seeds, paired differences, and whether smaller is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Mapping, Sequence

import numpy as np

from normlab.errors import InvalidSpec

Method = Literal["t", "bootstrap"]

_RESAMPLES = 10_000
_SMALLER = ("loss", "error", "perplexity", "time/")


@dataclass(frozen=True)
class Estimate:
    """A mean over *n* values; *sd*, *low* and *high* are None for n < 2."""

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None


def estimate(values: Sequence[float], method: Method = "t", confidence: float = 0.95) -> Estimate:
    """
    Estimate the mean of *values* with an interval.

    t: mean -+ t_{n-1} sd / sqrt(n), sd with n - 1; bootstrap: percentiles of the means of
    10,000 resamples, drawn from a fixed seed so that a table is the same each time.

    Args:
        values: one number per seed.
        method: how the interval is made.
        confidence: its coverage, inside (0, 1).

    Raises:
        InvalidSpec: no values, or *confidence* outside (0, 1).
    """
    x = np.asarray(values, dtype=float)
    if x.size == 0 or not 0 < confidence < 1:
        raise InvalidSpec(
            f"{x.size} values, confidence {confidence}: needs a value and 0 < confidence < 1"
        )
    if x.size < 2:
        return Estimate(1, float(x[0]), None, None, None)
    mean = float(x.mean())
    sd = float(x.std(ddof=1))
    low, high = _t(x, mean, sd, confidence) if method == "t" else _bootstrap(x, confidence)
    return Estimate(int(x.size), mean, sd, low, high)


def paired_difference(
    a: Mapping[int, float],
    b: Mapping[int, float],
    method: Method = "t",
    confidence: float = 0.95,
) -> Estimate:
    """
    Estimate the mean of a - b over the seeds that both have.

    Raises:
        InvalidSpec: they share no seed.
    """
    shared = sorted(set(a) & set(b))
    if not shared:
        raise InvalidSpec(
            f"no seed in common: {sorted(a)} and {sorted(b)}; a paired comparison needs some"
        )
    return estimate([a[seed] - b[seed] for seed in shared], method, confidence)


def _t(x: np.ndarray, mean: float, sd: float, confidence: float) -> tuple[float, float]:
    from scipy.special import stdtrit  # large, and a server may never make a table

    half = float(stdtrit(x.size - 1, (1 + confidence) / 2)) * sd / x.size**0.5
    return mean - half, mean + half


def _bootstrap(x: np.ndarray, confidence: float) -> tuple[float, float]:
    draws = np.random.default_rng(0).integers(0, x.size, size=(_RESAMPLES, x.size))
    low, high = np.quantile(x[draws].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def smaller_is_better(metric: str) -> bool:
    """Whether the best value of *metric* is its smallest."""
    return any(word in metric for word in _SMALLER)
