"""The expected size of the largest of n Gaussian deviations, for consistent L-infinity and Top-k.

Z is standard normal, B is a binomial count, n is the number of deviations, and k of them are
averaged.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

_EXACT_UP_TO = 512  # above it, a normal count is as accurate as a binomial one


def published_top_constant(n: int) -> float:
    """
    Return the published factor from the largest of *n* deviations to sigma.

    (1 + sqrt(pi ln 4)) / (2 sqrt(2 ln n)). It is not consistent: for Gaussian values it estimates
    1.37 sigma at n = 32 and 1.45 sigma at n = 65536. It does not depend on k.

    Source:
        Hoffer, Banner, Golan and Soudry, "Norm matters", NeurIPS 2018, arXiv:1803.01814: the
        constant of the L-infinity norm, as in the authors' code.
    """
    return 0.5 * (1 + math.sqrt(math.pi * math.log(4))) / math.sqrt(2 * math.log(n))


def consistent_mean_constant(n: int) -> float:
    """Return the factor from the mean of *n* deviations from their sample mean to sigma."""
    return math.sqrt(math.pi / 2) / math.sqrt(1 - 1 / n)


def consistent_top_constant(n: int, k: int) -> float:
    """Return the factor from the mean of the *k* largest of *n* deviations to sigma."""
    return 1 / (expected_top_mean(n, k) * math.sqrt(1 - 1 / n))


@lru_cache(maxsize=1024)
def expected_top_mean(n: int, k: int) -> float:
    """
    Return the expected mean of the *k* largest of *n* independent |Z|.

    The j-th largest exceeds t if at least j of the n exceed t. So the sum of the k largest has the
    expectation: integral over t > 0 of E[min(k, B(n, P(|Z| > t)))]. It is computed by Simpson's
    rule, in float64.
    """
    points, end = 2400, 12.0
    t = torch.linspace(0, end, points + 1, dtype=torch.float64)
    p = torch.special.erfc(t[1:] / math.sqrt(2))
    counted = _expected_exactly if k <= _EXACT_UP_TO else _expected_normally
    f = torch.cat([torch.tensor([float(k)], dtype=torch.float64), counted(n, k, p)])
    simpson = f[0] + 4 * f[1::2].sum() + 2 * f[2:-1:2].sum() + f[-1]
    return float(simpson * (end / points) / 3 / k)


def _expected_exactly(n: int, k: int, p: Tensor) -> Tensor:
    """Return E[min(k, B(n, p))] = k - sum over i < k of (k - i) P(B = i)."""
    i = torch.arange(k, dtype=torch.float64)
    total = torch.lgamma(torch.tensor(n + 1.0, dtype=torch.float64))
    ways = total - torch.lgamma(i + 1) - torch.lgamma(n - i + 1)
    log_p = ways + i * p.log().unsqueeze(1) + (n - i) * torch.log1p(-p).unsqueeze(1)
    short: Tensor = (log_p.exp() * (k - i)).sum(1)
    return k - short


def _expected_normally(n: int, k: int, p: Tensor) -> Tensor:
    """Return E[min(k, B)] for a normal B with the same mean and variance."""
    mean, std = n * p, (n * p * (1 - p)).sqrt().clamp(min=1e-12)
    z = (k - mean) / std
    below = 0.5 * torch.special.erfc(-z / math.sqrt(2))
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    short: Tensor = (k - mean) * below + std * density
    return k - short
