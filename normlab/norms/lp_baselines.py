"""The baselines of the deviation norms: a norm with any power, and one without division."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from normlab.errors import InvalidSpec
from normlab.norms.deviation_norm import DeviationBatchNorm


class LpBatchNorm(DeviationBatchNorm):
    """
    Batch norm with y = weight * (x - M) * (mean |x - M|^p + eps)^(-1/p) + bias.

    This form has no constant, and eps is inside the root; p = 2 is batch norm. Other arguments,
    shapes and errors are as in `DeviationBatchNorm`.

    Args:
        p: the power, at least 1.

    Source:
        The form of the L2 baseline in the code of Hoffer et al. (see `lp_batch.L1BatchNorm`).
    """

    closed_form = False

    def __init__(
        self,
        num_features: int,
        p: float = 2.0,
        eps: float = 1e-5,
        affine: bool = True,
        dims: int = 2,
        momentum: Optional[float] = 0.1,
        virtual_batch_size: Optional[int] = None,
        running: str = "standard",
    ) -> None:
        super().__init__(
            num_features, eps, affine, dims, momentum, virtual_batch_size, "one", running
        )
        if not p >= 1:
            raise InvalidSpec(f"{p=}: a norm needs a power of at least 1")
        self.p = p

    def measure_plain(self, centred: Tensor) -> Tensor:
        """Measure mean |x - M|^p."""
        return centred.abs().pow(self.p).mean((1, 3), keepdim=True)

    def constant_for(self, n: int) -> float:
        """Return 1, because this form has no constant."""
        return 1.0

    def factor(self, deviation: Tensor, n: int) -> Tensor:
        """Return the factor for centred values."""
        return (deviation + self.eps).pow(-1 / self.p)

    def _running_value(self, deviation: Tensor, n: int) -> Tensor:
        if self.running == "reference":
            return self.factor(deviation, n)
        return deviation.pow(2 / self.p)


class MeanBatchNorm(DeviationBatchNorm):
    """
    Batch norm without the division: y = weight * (x - M) + bias.

    It is often combined with weight normalization. Arguments, shapes and errors are as in
    `DeviationBatchNorm`; running_var is not used.

    Source:
        Salimans and Kingma, "Weight Normalization", NeurIPS 2016, arXiv:1602.07868, section 4.
    """

    closed_form = False

    def __init__(
        self,
        num_features: int,
        affine: bool = True,
        dims: int = 2,
        momentum: Optional[float] = 0.1,
        virtual_batch_size: Optional[int] = None,
        running: str = "standard",
    ) -> None:
        super().__init__(
            num_features, 1e-5, affine, dims, momentum, virtual_batch_size, "one", running
        )

    def measure_plain(self, centred: Tensor) -> Tensor:
        """Measure nothing."""
        return torch.ones_like(centred[:, :1, :, :1])

    def constant_for(self, n: int) -> float:
        """Return 1."""
        return 1.0

    def factor(self, deviation: Tensor, n: int) -> Tensor:
        """Return 1 for every channel."""
        return deviation * 0 + 1

    def _running_factor(self) -> Tensor:
        return torch.ones_like(self.running_mean)
