"""Sparse switchable normalization: a mixture of statistics that becomes one of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Optional, Set, Tuple

import torch
from torch import Tensor

from normlab.errors import InvalidSpec
from normlab.norms.sparsestmax import sparsestmax
from normlab.norms.sparsestmax_numbers import project
from normlab.norms.switchable import SwitchableNorm


class SparseSwitchableNorm(SwitchableNorm):
    """
    Normalize by a SparsestMax mixture of instance, layer and batch statistics.

    As SwitchableNorm, with p = SparsestMax(mean_weight; r) and q = SparsestMax(var_weight; r),
    the nearest points of the simplex at least r from its centre. The radius r grows from 0 to
    *radius_end* with the run's progress; from sqrt((K - 1) / K) on, K choices, p and q are
    one-hot. A ratio that has become one-hot in training stays so: its logits become the ratio
    and learn no more, and statistics that nobody chose are not computed.

    Args:
        num_features: C, the number of channels.
        eps: added to the mixed variance.
        affine: learn weight and bias.
        dims: 1, 2 or 3 dimensions of positions.
        momentum: weight of the new value in the running statistics; None averages all.
        virtual_batch_size: samples that share the batch's statistics; None is all.
        unbiased_reference: take the unbiased instance variance, as the authors' code.
        variant: "paper" for the projection that the paper defines, "reference" for what the
            authors' code computes.
        radius: a fixed radius; None lets it follow `set_progress`.
        radius_end: the radius at the end of the run.

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Raises:
        InvalidSpec: if an option is out of range.

    Source:
        Shao et al., "SSN: Learning Sparse Switchable Normalization via SparsestMax", 2019,
        arXiv:1903.03793.
    """

    radius: Tensor
    mean_fixed: Tensor
    var_fixed: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        affine: bool = True,
        dims: int = 2,
        momentum: Optional[float] = 0.003,
        virtual_batch_size: Optional[int] = None,
        unbiased_reference: bool = False,
        variant: str = "paper",
        radius: Optional[float] = None,
        radius_end: float = 1.0,
    ) -> None:
        super().__init__(
            num_features,
            eps,
            affine,
            dims,
            momentum,
            virtual_batch_size,
            unbiased_reference=unbiased_reference,
        )
        if variant not in ("paper", "reference"):
            raise InvalidSpec(f"{variant=}: it is 'paper' or 'reference'")
        if not 0 <= (0.0 if radius is None else radius) <= 1 or not 0 <= radius_end <= 1:
            raise InvalidSpec(f"{radius=}, {radius_end=}: a radius is between 0 and 1")
        self.variant = variant
        self.radius_end = radius_end
        self.follows_progress = radius is None
        self.register_buffer("radius", torch.tensor(float(radius or 0.0)))
        self.register_buffer("mean_fixed", torch.tensor(False))
        self.register_buffer("var_fixed", torch.tensor(False))

    def set_progress(self, fraction: float) -> None:
        """Let the radius grow with the run, unless it was given."""
        if self.follows_progress:
            self.radius.fill_(fraction * self.radius_end)

    def ratios(self, mean_weight: Tensor, var_weight: Tensor) -> Tuple[Tensor, Tensor]:
        """Return how much each of `choices` counts in the mean, and in the variance."""
        mean_ratio = self._project(mean_weight, self.mean_fixed)
        return mean_ratio, self._project(var_weight, self.var_fixed)

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Normalize by the mixture; in training, freeze ratios that have become one-hot."""
        if self.training:
            self._freeze_one_hot(self.mean_weight, self.mean_fixed)
            self._freeze_one_hot(self.var_weight, self.var_fixed)
        return super().normalize(x, weight, bias)

    @torch.no_grad()
    def _freeze_one_hot(self, logits: Tensor, fixed: Tensor) -> None:
        if bool(fixed):
            return
        ratio = self._project(logits, fixed)
        found = ratio.tolist()
        if max(found) - min(found) >= 1 - torch.finfo(ratio.dtype).eps:
            logits.copy_(ratio.round())
            fixed.fill_(True)

    def _project(self, logits: Tensor, fixed: Tensor) -> Tensor:
        if bool(fixed):
            return logits.detach()
        if self.plain or logits.device.type != "cpu":
            return sparsestmax(logits, self.radius.to(logits), self.variant)  # type: ignore[arg-type]
        ratio: Tensor = _Projection.apply(logits, float(self.radius), self.variant)  # type: ignore[no-untyped-call]
        return ratio

    def _wanted(self) -> Set[str]:
        if not (bool(self.mean_fixed) and bool(self.var_fixed)):
            return set(self.choices)
        return {
            self.choices[int(logits.argmax())] for logits in (self.mean_weight, self.var_weight)
        }


# A forward asks twice: whether the ratio is one-hot, and for the ratio.
_projected = lru_cache(maxsize=256)(project)


class _Projection(torch.autograd.Function):
    """`sparsestmax` for a few logits on a CPU, where plain numbers beat dozens of operators."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, radius: float, variant: str) -> Tensor:
        ratio, jacobian = _projected(tuple(logits.tolist()), radius, variant)
        ctx.save_for_backward(logits.new_tensor(jacobian))
        return logits.new_tensor(ratio)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tuple[Tensor, None, None]:
        (jacobian,) = ctx.saved_tensors  # d ratio_i / d logit_j, constant for a second derivative
        return g @ jacobian, None, None
