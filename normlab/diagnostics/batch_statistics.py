"""Batch statistics as random numbers: their variance, compared with Gaussian priors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, List

import torch
from torch import Tensor

from normlab.errors import InvalidSpec


@dataclass(frozen=True)
class BatchStatistics:
    """
    The scatter of batch means and deviations; each number is the median over channels.

    Args:
        mean_ratio: variance of the batch means, divided by sigma^2 / M.
        std_ratio: variance of the batch deviations, divided by sigma^2 (kappa - 1) / (4 M).
        effective_share: sigma^2 / Var(batch mean) / M, the share of the M values that are
            effectively independent; it is below 1 if neighbouring positions are correlated.
    """

    mean_ratio: float
    std_ratio: float
    effective_share: float


class BatchStatisticsMeter:
    """
    Collect the channel means and deviations of batches of one tensor.

    The priors are mu_B ~ N(mu, sigma^2 / M) and sigma_B ~ N(sigma, sigma^2 (kappa - 1) / (4 M)).
    Here kappa is the kurtosis (3 for a Gaussian), and M is the number of values of a channel in a
    batch. The priors assume independent values; the values of feature maps are not independent.

    Source:
        Teye, Azizpour and Smith, "Bayesian Uncertainty Estimation for Batch Normalized Deep
        Networks", ICML 2018, arXiv:1802.06455, section 3.
    """

    def __init__(self) -> None:
        self._rows: List[Tensor] = []  # each (5, C): mean, std, and the means of x^2, x^3, x^4
        self._values = 0

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """
        Add a batch.

        Shape:
            (N, C, ...), the same at every call

        Raises:
            InvalidSpec: the shape differs from the first batch.
        """
        flat = x.detach().double().transpose(0, 1).flatten(1)  # (N, C, ...) -> (C, M)
        if self._rows and flat.shape[1] != self._values:
            raise InvalidSpec(
                f"{flat.shape[1]} values per channel, the first batch had {self._values}"
            )
        self._values = flat.shape[1]
        moments = [flat.mean(1), flat.std(1, unbiased=False)]
        moments += [flat.pow(k).mean(1) for k in (2, 3, 4)]
        self._rows.append(torch.stack(moments).cpu())

    def statistics(self) -> BatchStatistics:
        """
        Compare the variance over all batches so far with the priors.

        Raises:
            InvalidSpec: there are fewer than two batches.
        """
        if len(self._rows) < 2:
            raise InvalidSpec(
                f"{len(self._rows)} batches: their scatter needs at least 2; add more"
            )
        mean, _, m2, m3, m4 = torch.stack(self._rows).mean(0)  # the mean of (batches, 5, C)
        variance = (m2 - mean**2).clamp_min(torch.finfo(torch.float64).tiny)
        fourth = m4 - 4 * mean * m3 + 6 * mean**2 * m2 - 3 * mean**4
        kurtosis = fourth / variance**2
        scatter = self.scatter()
        prior_mean = variance / self._values
        prior_std = variance * (kurtosis - 1).clamp_min(1e-12) / (4 * self._values)
        return BatchStatistics(
            mean_ratio=_median(scatter[0] / prior_mean),
            std_ratio=_median(scatter[1] / prior_std),
            effective_share=_median(prior_mean / scatter[0].clamp_min(1e-300)),
        )

    def scatter(self) -> Tensor:
        """Return the unbiased variance over batches of means and deviations, (2, C)."""
        return torch.stack(self._rows)[:, :2].var(0)


class BatchScatter:
    """
    The scatter of one tensor's statistics over batches, and over quarters of the same batches.

    If the variance is inversely proportional to the batch size, it is four times as large over
    quarters. `mean_exponent` and `std_exponent` are the slopes of log variance against log M: -1
    for 1 / M, whatever share of the values is independent.

    Args:
        size: the number of samples in a batch; below 8 there are no quarters and no exponents.
    """

    def __init__(self, size: int) -> None:
        self._quarter = size // 4 if size >= 8 else 0
        self._whole, self._quarters = BatchStatisticsMeter(), BatchStatisticsMeter()

    def update(self, x: Tensor) -> None:
        """Add a batch, (N, C, ...)."""
        self._whole.update(x)
        if self._quarter:
            for part in torch.split(x[: 4 * self._quarter], self._quarter):
                self._quarters.update(part)

    def found(self) -> Dict[str, float]:
        """Return the statistics of whole batches, and the exponents, by name."""
        values = dict(vars(self._whole.statistics()))
        if self._quarter:
            ratio = self._whole.scatter() / self._quarters.scatter().clamp_min(1e-300)
            slopes = ratio.clamp_min(1e-300).log() / math.log(4)
            values.update(mean_exponent=_median(slopes[0]), std_exponent=_median(slopes[1]))
        return values


def _median(x: Tensor) -> float:
    return float(x.median())
