"""Root mean square normalization: like layer norm, but without subtracting the mean."""

from __future__ import annotations

import math
from typing import Any, Optional, cast

from torch import Tensor

from normlab.norms import engine, engine_fused
from normlab.norms.activation_norm import ActivationNorm
from normlab.norms.engine import Solved
from normlab.norms.solve_forms import Pool, make_form
from normlab.specs.norms_by_mean_square import RmsNormSpec

_RMS = RmsNormSpec()


class RMSNorm(ActivationNorm):
    """
    Divide each sample by the root mean square of all its channels and positions.

    y = weight * x / sqrt(mean(x^2) + eps) + bias. Training and evaluation compute the same.

    Args:
        num_features: C, the number of channels.
        eps: added to the mean square; same unit as x squared.
        affine: whether to learn weight and bias, one of each per channel.
        p: share of the channels of each group, the first ceil(p C / groups), whose mean square is
            used for all (the paper's partial RMSNorm).
        groups: the number of groups of consecutive channels, each divided by its own root mean
            square; must divide C.
        dims: 1, 2 or 3 dimensions of positions.

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Raises:
        InvalidSpec: *groups* does not divide C, or *p* is not in (0, 1].

    Source:
        Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019, arXiv:1910.07467,
        equation 4, and the section on pRMSNorm. The authors' code adds its eps of 1e-8 to the
        root, has no bias by default, and rounds the channels of a part down; the paper rounds up.
    """

    on_engine = evaluates_on_engine = True

    def __init__(
        self,
        num_features: int,
        eps: float = _RMS.eps,
        affine: bool = _RMS.affine,
        p: float = _RMS.p,
        groups: int = _RMS.groups,
        dims: int = 2,
    ) -> None:
        super().__init__(num_features, eps, affine, dims)
        RmsNormSpec.checked(num_features, p=p, groups=groups)
        self.p = p
        self.groups = groups
        self.seen = math.ceil(p * (num_features // groups))  # channels of a group that count

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Divide each sample by its root mean square."""
        by_group = (x.shape[0], self.groups, self.num_features // self.groups)
        pool = [1, by_group[2], 0]
        if self.seen == by_group[2] > 1:
            nodes = engine_fused.nodes_for(x, self.plain, weight, bias)
            if nodes is not None:
                found = nodes.mixed(x, weight, bias, pool, self.eps, about_zero=True)
                return cast("Tensor", found[0])

        def solve(mean: Tensor, var: Tensor, weight: Any, bias: Any) -> Solved:
            squares = (var + mean * mean).reshape(by_group)
            inverse = (squares[:, :, : self.seen].mean(2, keepdim=True) + self.eps).rsqrt()
            scale = inverse.expand(by_group).reshape(mean.shape)  # (N, G, 1) -> (N, C)
            scale = scale if weight is None else scale * weight
            shift = scale * mean  # y = scale * (x - mean) + shift
            return Solved(scale, shift if bias is None else shift + bias, ())

        form = make_form(self.eps, (Pool(*pool),), about_zero=True, seen=self.seen)
        if by_group[2] == 1:
            form = make_form(self.eps, own=True, about_zero=True)
        return engine.normalize(x, solve, (weight, bias), self.plain, form, self.following)[0]

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return f"{super().extra_repr()}, p={self.p:g}, groups={self.groups}"
