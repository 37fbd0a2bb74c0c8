"""Dynamic Tanh: a tanh with a learned slope, which replaces layer norm without statistics."""

from __future__ import annotations

from functools import partial
from typing import Optional

import torch
from torch import Tensor, nn

from normlab.norms import kernel_nodes
from normlab.norms.activation_norm import ActivationNorm
from normlab.norms.channels import by_channel
from normlab.norms.dynamic_tanh_fused import Tanh
from normlab.norms.following import Following
from normlab.norms.passes import statistics_dtype
from normlab.specs.norms_with_activation import DynamicTanhSpec

_DYT = DynamicTanhSpec()


class DynamicTanh(ActivationNorm):
    """
    Apply a tanh to each value; its slope is learned and is the same for all channels.

    y = weight * tanh(slope * x) + bias. Nothing is averaged. Training and evaluation compute the
    same, and no value depends on another.

    Args:
        num_features: C, the number of channels.
        alpha: the initial slope; inputs of about 1 / alpha are where the tanh begins to saturate.
        affine: whether to learn weight and bias, one of each per channel.
        dims: 1, 2 or 3 dimensions of positions.

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Raises:
        InvalidSpec: *alpha* is not positive.

    Source:
        Zhu, Chen, He, LeCun and Liu, "Transformers without Normalization", 2025,
        arXiv:2503.10622, algorithm 1.
    """

    on_engine = evaluates_on_engine = follows_on_vectors = True

    def __init__(
        self,
        num_features: int,
        alpha: float = _DYT.alpha,
        affine: bool = _DYT.affine,
        dims: int = 2,
    ) -> None:
        super().__init__(num_features, affine=affine, dims=dims)
        DynamicTanhSpec.checked(num_features, alpha=alpha)
        self.start = alpha
        self.alpha = nn.Parameter(torch.full((1,), alpha))

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Apply the tanh to each value."""
        kernels, following = kernel_nodes.kernels_for(x, self.plain), self.following
        definition = partial(_tanh, following=following)
        if kernels is None or (following is not None and following.tensors()):
            return definition(x, self.slope(), weight, bias)
        tanh = Tanh(kernels, following, definition)
        return kernel_nodes.apply(tanh, x, self.slope(), weight, bias)

    def slope(self) -> Tensor:
        """Return the slope of all channels, (1,), or of each, (C,)."""
        return self.alpha

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return f"{self.num_features}, alpha={self.start:g}, affine={self.affine}, dims={self.dims}"


def _tanh(
    x: Tensor,
    slope: Tensor,
    weight: Optional[Tensor],
    bias: Optional[Tensor],
    following: Optional[Following],
) -> Tensor:
    dtype = statistics_dtype(x)
    y = torch.tanh(x.to(dtype) * by_channel(slope.to(dtype), x))
    if weight is not None:
        y = y * by_channel(weight.to(dtype), y)
    if bias is not None:
        y = y + by_channel(bias.to(dtype), y)
    return (y if following is None else following.apply(y)).to(x.dtype)
