"""EvoNorm-S0: norm and activation in one formula, which was found by a search over formulas."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms import engine_fused, kernel_nodes
from normlab.norms.activation_norm import ActivationNorm
from normlab.norms.channels import by_channel
from normlab.norms.evonorm_fused import Swish
from normlab.norms.passes import like, positions, statistics_dtype
from normlab.norms.solve_forms import Pool, make_form
from normlab.specs.norms_with_activation import EvoNormS0Spec

_EVONORM = EvoNormS0Spec()


class EvoNormS0(ActivationNorm):
    """
    Apply a learned swish to each value, and divide by the deviation of its group of channels.

    y = weight * x * sigmoid(v * x) / sqrt(V + eps) + bias, with V the biased variance over
    (c in group, p) of a sample. Training and evaluation compute the same. No mean is subtracted
    in the numerator.

    Args:
        num_features: C, the number of channels.
        groups: the number of groups, which must divide C; channel c is in group c // (C / groups).
        eps: added to the variance; same unit as x squared.
        affine: whether to learn weight and bias, one of each per channel; v is always learned.
        dims: 1, 2 or 3 dimensions of positions.

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Raises:
        InvalidSpec: *groups* does not divide C, or a group has only one value.

    Source:
        Liu, Brock, Simonyan and Le, "Evolving Normalization-Activation Layers", 2020,
        arXiv:2004.02967, EvoNorm-S0. The authors use 32 groups.
    """

    def __init__(
        self,
        num_features: int,
        groups: int = _EVONORM.groups,
        eps: float = _EVONORM.eps,
        affine: bool = _EVONORM.affine,
        dims: int = 2,
    ) -> None:
        super().__init__(num_features, eps, affine, dims)
        EvoNormS0Spec.checked(num_features, groups=groups)
        self.groups = groups
        self.v = nn.Parameter(torch.ones(num_features))

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Apply the swish to each value, and divide by the deviation of its group."""
        if self.num_features // self.groups * positions(x) == 1:
            raise InvalidSpec(
                f"EvoNormS0 on shape {tuple(x.shape)}: each group of channels has one value, and a "
                "variance needs two; use fewer groups"
            )
        nodes = engine_fused.nodes_for(x, self.plain, weight, bias, self.v)
        if nodes is not None:
            fused: Tensor = nodes.swished(x, weight, bias, self.v, self.groups, self.eps)
            return fused
        kernels = kernel_nodes.kernels_for(x, self.plain)
        if kernels is None:
            return self._swished(x, self.v, weight, bias)
        form = make_form(self.eps, (Pool(1, self.num_features // self.groups, 0),))
        return kernel_nodes.apply(Swish(kernels, form, self._swished), x, self.v, weight, bias)

    def _swished(
        self, x: Tensor, v: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]
    ) -> Tensor:
        dtype = statistics_dtype(x)
        wide = x.to(dtype)
        y = wide * torch.sigmoid(wide * by_channel(v.to(dtype), x))
        y = y * self._scale(wide, weight)
        y = y if bias is None else y + by_channel(bias.to(dtype), x)
        return like(y.to(x.dtype), x)

    def _scale(self, wide: Tensor, weight: Optional[Tensor]) -> Tensor:
        """Return weight / sqrt(V + eps), (N, C, 1, ...)."""
        n, c = wide.shape[:2]
        rows = wide.reshape(n, self.groups, -1)
        centred = rows - rows.mean(2, keepdim=True)
        inverse = (centred.square().mean(2) + self.eps).rsqrt()  # (N, G)
        scale = inverse.unsqueeze(2).expand(n, self.groups, c // self.groups).reshape(n, c)
        scale = scale if weight is None else scale * weight.to(scale.dtype)
        return scale.view(n, c, *[1] * (wide.dim() - 2))

    def without_activation(self) -> nn.Module:
        """Return only scale and shift, which the paper uses where no activation follows."""
        return ScaleAndShift(self.num_features, self.affine, self.dims)

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return f"{super().extra_repr()}, groups={self.groups}"


class ScaleAndShift(ActivationNorm):
    """
    Scale and shift each channel: y = weight * x + bias, without any statistics.

    Source:
        Liu et al. (see `EvoNormS0`), the code listing of their layers without nonlinearity.
    """

    def __init__(self, num_features: int, affine: bool = True, dims: int = 2) -> None:
        super().__init__(num_features, affine=affine, dims=dims)

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Scale and shift each channel."""
        y = x.to(statistics_dtype(x))
        y = y if weight is None else y * by_channel(weight.to(y.dtype), y)
        y = y if bias is None else y + by_channel(bias.to(y.dtype), y)
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return f"{self.num_features}, affine={self.affine}, dims={self.dims}"
