"""Weight standardization, plain and scaled: give each filter mean 0 and a fixed variance.

v is the stored weight; mu and s2 are the mean and the biased variance of the N weights of a filter.
N is the fan-in: input channels (of its group) times kernel positions.
"""

from __future__ import annotations

import math
from typing import Dict, Tuple

import torch
from torch import Tensor, nn

from normlab.norms.weight_lengths import wide
from normlab.specs.norms_of_weights import ScaledWeightStandardizedSpec, WeightStandardizedSpec

_STANDARD = WeightStandardizedSpec()
_SCALED = ScaledWeightStandardizedSpec()

# 1 / sqrt(Var phi(Z)), Z ~ N(0, 1). ReLU: sqrt(2 / (1 - 1 / pi)).
GAMMAS: Dict[str, float] = {
    "relu": math.sqrt(2 / (1 - 1 / math.pi)),
    "silu": 1.7871872220889,
    "gelu": 1.7009262433524,
    "none": 1.0,
}


class WeightStandardization(nn.Module):
    """
    Give each filter mean 0 and variance 1: w = (v - mu) / sqrt(s2 + eps).

    A parametrization: the module keeps v as `original`.

    Args:
        dim: the dimension of the output channels.
        eps: added to s2.

    Source:
        Qiao, Wang, Liu, Shen and Yuille, "Micro-Batch Training with Batch-Channel Normalization
        and Weight Standardization", 2019, arXiv:1903.10520, the definition of weight
        standardization. The authors' code divides by the unbiased deviation plus 1e-5.
    """

    def __init__(self, dim: int, eps: float = _STANDARD.weight_eps) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, v: Tensor) -> Tensor:
        """Return w."""
        centred, variance = _spread(v, self.dim)
        return (centred * (variance + self.eps).rsqrt()).to(v.dtype)

    def right_inverse(self, w: Tensor) -> Tensor:
        """Return *w* as v; its means and variances have no effect."""
        return w

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return f"dim={self.dim}, eps={self.eps:g}"


class ScaledWeightStandardization(nn.Module):
    """
    Let each filter keep the variance of its input: w = gain gamma (v - mu) / sqrt(N s2).

    N s2 is at least eps. With gain 1, the output for independent values phi(Z), Z ~ N(0, 1), has
    variance 1, because gamma compensates the reduction by the activation phi. A parametrization:
    the module keeps the gain, one number for each output channel, as `original0`, and v as
    `original1`.

    Args:
        dim: the dimension of the output channels.
        nonlinearity: phi, a key of `GAMMAS`.
        eps: the least value of N s2.

    Source:
        Brock, De and Smith, "Characterizing Signal Propagation to Close the Performance Gap in
        Unnormalized ResNets", 2021, arXiv:2101.08692, the definition of scaled weight
        standardization; gain and eps from their code for arXiv:2102.06171, which multiplies the
        activations by gamma and not the weights.
    """

    def __init__(
        self, dim: int, nonlinearity: str = _SCALED.nonlinearity, eps: float = _SCALED.weight_eps
    ) -> None:
        super().__init__()
        self.dim, self.nonlinearity, self.eps = dim, nonlinearity, eps
        self.gamma = GAMMAS[nonlinearity]

    def forward(self, gain: Tensor, v: Tensor) -> Tensor:
        """Return w."""
        centred, variance = _spread(v, self.dim)
        fan_in = v.numel() // v.shape[self.dim]
        scale = (variance * fan_in).clamp_min(self.eps).rsqrt() * (self.gamma * wide(gain))
        return (centred * scale).to(v.dtype)

    def right_inverse(self, w: Tensor) -> Tuple[Tensor, Tensor]:
        """Return gains of 1, and *w* as v."""
        shape = [size if d == self.dim else 1 for d, size in enumerate(w.shape)]
        return torch.ones(shape, dtype=w.dtype, device=w.device), w

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return f"dim={self.dim}, nonlinearity={self.nonlinearity!r}, eps={self.eps:g}"


def _spread(v: Tensor, dim: int) -> Tuple[Tensor, Tensor]:
    """Return v - mu and s2, (C_out, 1, ...), in float32 or wider."""
    dims = [d for d in range(v.dim()) if d != dim]
    x = wide(v)
    centred = x - x.mean(dims, keepdim=True)
    return centred, centred.square().mean(dims, keepdim=True)
