"""L1, L-infinity and Top-k batch norm."""

from __future__ import annotations

import math
from typing import Optional

from torch import Tensor

from normlab.errors import InvalidSpec
from normlab.norms import deviations, gaussian_extremes
from normlab.norms.deviation_norm import DeviationBatchNorm
from normlab.norms.deviations import Deviation
from normlab.norms.pooling import smallest_group
from normlab.specs.norms_over_batches import LinfBatchNormSpec, TopkBatchNormSpec

_LINF_BATCH_NORM = LinfBatchNormSpec()
_TOPK_BATCH_NORM = TopkBatchNormSpec()


class L1BatchNorm(DeviationBatchNorm):
    """
    Batch norm with the mean absolute deviation: A = mean |x - M|, c = sqrt(pi / 2).

    "consistent" divides c by sqrt(1 - 1/n), because M is computed from the same n values.
    Arguments, shapes and errors are as in `DeviationBatchNorm`.

    Source:
        Hoffer, Banner, Golan and Soudry, "Norm matters", NeurIPS 2018, arXiv:1803.01814, section on
        L1 batch norm.
    """

    largest = 0

    def measure(self, x: Tensor, mean: Tensor) -> Deviation:
        """Measure the mean absolute deviation."""
        return deviations.mean_deviation(x, mean)

    def measure_plain(self, centred: Tensor) -> Tensor:
        """Measure the mean absolute deviation."""
        return centred.abs().mean((1, 3), keepdim=True)

    def constant_for(self, n: int) -> float:
        """Return c for statistics over *n* values."""
        if self.constant == "one":
            return 1.0
        if self.constant == "consistent":
            return gaussian_extremes.consistent_mean_constant(n)
        return math.sqrt(math.pi / 2)


class TopkBatchNorm(DeviationBatchNorm):
    """
    Batch norm with the mean of the k largest absolute deviations of a channel.

    The published constant is that of k = 1 for every k, and estimates 1.4 sigma for k = 1.
    "consistent" divides by the expectation for Gaussian values with this n and k. The gradient of A
    goes to the k chosen values; the backend decides which of equal values is chosen. Other
    arguments, shapes and errors are as in `DeviationBatchNorm`.

    Args:
        k: the number of deviations that are averaged, at most the n values of a statistic.

    Source:
        Hoffer, Banner, Golan and Soudry, "Norm matters", NeurIPS 2018, arXiv:1803.01814, section on
        Top(k) batch norm. Ours checks n and k, and leaves out the ghost form of the authors' code,
        which multiplies its state by the constant at every step.
    """

    def __init__(
        self,
        num_features: int,
        k: int = _TOPK_BATCH_NORM.k,
        eps: float = _TOPK_BATCH_NORM.eps,
        affine: bool = _TOPK_BATCH_NORM.affine,
        dims: int = 2,
        momentum: Optional[float] = _TOPK_BATCH_NORM.momentum,
        virtual_batch_size: Optional[int] = _TOPK_BATCH_NORM.virtual_batch_size,
        constant: str = _TOPK_BATCH_NORM.constant,
        running: str = _TOPK_BATCH_NORM.running,
    ) -> None:
        super().__init__(
            num_features, eps, affine, dims, momentum, virtual_batch_size, constant, running
        )
        TopkBatchNormSpec.checked(num_features, k=k)
        self.k = self.largest = k

    def measure(self, x: Tensor, mean: Tensor) -> Deviation:
        """Measure the mean of the k largest absolute deviations."""
        return deviations.top_deviation(x, mean, self.k)

    def measure_plain(self, centred: Tensor) -> Tensor:
        """Measure the mean of the k largest absolute deviations."""
        return deviations.top_deviation_plain(centred, self.k)

    def constant_for(self, n: int) -> float:
        """Return c for statistics over *n* values."""
        if self.constant == "one":
            return 1.0
        if self.constant == "consistent":
            return gaussian_extremes.consistent_top_constant(n, self.k)
        return gaussian_extremes.published_top_constant(n)

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return f"{super().extra_repr()}, k={self.k}"

    def _check_values(self, x: Tensor) -> None:
        super()._check_values(x)
        samples = smallest_group(x.shape[0], self.virtual_batch_size)
        values = samples * x[0, 0].numel()
        if values < self.k:
            raise InvalidSpec(
                f"k={self.k} largest deviations of {values} values per channel (shape "
                f"{tuple(x.shape)}, {samples} samples per statistic): use k <= {values} or more "
                "samples"
            )


class LinfBatchNorm(TopkBatchNorm):
    """
    Batch norm with the largest absolute deviation: Top-k with k = 1.

    Arguments, shapes, errors and source are as in `TopkBatchNorm`.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = _LINF_BATCH_NORM.eps,
        affine: bool = _LINF_BATCH_NORM.affine,
        dims: int = 2,
        momentum: Optional[float] = _LINF_BATCH_NORM.momentum,
        virtual_batch_size: Optional[int] = _LINF_BATCH_NORM.virtual_batch_size,
        constant: str = _LINF_BATCH_NORM.constant,
        running: str = _LINF_BATCH_NORM.running,
    ) -> None:
        super().__init__(
            num_features, 1, eps, affine, dims, momentum, virtual_batch_size, constant, running
        )
