"""Parametrizations of torch that compute a layer's weights as lengths times directions.

v is the stored weight, ||v|| the norm of each output channel; g holds one length per channel.
"""

from __future__ import annotations

from typing import Optional, Tuple

import torch
from torch import Tensor, nn


class WeightNorm(nn.Module):
    """
    Give each output channel a learned length: w = g * v / ||v||.

    A parametrization: the module keeps g as `original0` and v as `original1`.

    Source:
        Salimans and Kingma, "Weight Normalization", NeurIPS 2016, arXiv:1602.07868, eq. 2. g starts
        as ||v||, so that applying it changes nothing; ours has no data-dependent start.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        """Return w."""
        x = wide(v)
        return (x * (wide(g) / channel_norm(x, self.dim))).to(v.dtype)

    def right_inverse(self, w: Tensor) -> Tuple[Tensor, Tensor]:
        """Return the g and v that give *w*."""
        return channel_norm(wide(w), self.dim).to(w.dtype), w

    def extra_repr(self) -> str:
        """Show the dimension of the output channels."""
        return f"dim={self.dim}"


class BoundedWeightNorm(nn.Module):
    """
    Keep each output channel at the length rho: w = rho * v / ||v||.

    rho is one number per layer. It is measured on the initial weights, and never changes.

    Args:
        w: the initial weight.
        rho: "rms" is ||w||_F / sqrt(C_out) for p = 2; "mean" is the mean of the channels' lengths.
        p: the order of the norm: 2, or infinity for the largest absolute weight.

    Source:
        Hoffer, Banner, Golan and Soudry, "Norm matters", NeurIPS 2018, arXiv:1803.01814, section on
        bounded weight normalization. The authors' code uses "mean", and for p = inf omits the
        absolute value; "rms" is that of the paper.
    """

    rho: Tensor

    def __init__(self, w: Tensor, dim: int, rho: str = "rms", p: float = 2.0) -> None:
        super().__init__()
        self.dim, self.mode, self.p = dim, rho, p
        norms = channel_norm(wide(w.detach()), dim, p)
        length = norms.mean() if rho == "mean" else norms.square().mean().sqrt()
        self.register_buffer("rho", length.reshape(1))

    def forward(self, v: Tensor) -> Tensor:
        """Return w."""
        x = wide(v)
        norms = channel_norm(x, self.dim, self.p)
        return (x * (self.length(norms) / norms)).to(v.dtype)

    def length(self, norms: Tensor) -> Tensor:
        """Return rho, which broadcasts against the *norms* of the channels."""
        return self.rho

    def right_inverse(self, w: Tensor) -> Tensor:
        """Return *w* as v; rho replaces its lengths."""
        return w

    def extra_repr(self) -> str:
        """Show how rho was measured."""
        return f"dim={self.dim}, rho={self.mode!r}, p={self.p:g}"


class BoundedTotalWeightNorm(nn.Module):
    """
    Learn the lengths of the channels, but keep their total: w = g * (G / ||g||) * v / ||v||.

    G is the initial ||g||. A parametrization: g is `original0`, v is `original1`.

    Source:
        The form of the ImageNet models in the code of Hoffer et al. (see `BoundedWeightNorm`).
    """

    total: Tensor

    def __init__(self, w: Tensor, dim: int, p: float = 2.0) -> None:
        super().__init__()
        self.dim, self.p = dim, p
        g = channel_norm(wide(w.detach()), dim, p)
        self.register_buffer("total", g.norm().reshape(1))

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        """Return w."""
        x, lengths = wide(v), self.with_total(wide(g))
        w: Tensor = x * (lengths / channel_norm(x, self.dim, self.p))
        return w.to(v.dtype)

    def with_total(self, lengths: Tensor) -> Tensor:
        """Scale *lengths* to the norm G."""
        kept: Tensor = lengths * (self.total / lengths.norm())
        return kept

    def right_inverse(self, w: Tensor) -> Tuple[Tensor, Tensor]:
        """Return the g and v that give *w* if its total is G."""
        return channel_norm(wide(w), self.dim, self.p).to(w.dtype), w

    def extra_repr(self) -> str:
        """Show the norm."""
        return f"dim={self.dim}, p={self.p:g}"


def channel_norm(v: Tensor, dim: int, p: Optional[float] = 2.0) -> Tensor:
    """Return the norms of the output channels, which are dimension *dim*: (C_out, 1, 1, 1)."""
    dims = [d for d in range(v.dim()) if d != dim]
    norm: Tensor = torch.linalg.vector_norm(v, p, dim=dims, keepdim=True)
    return norm


def wide(x: Tensor) -> Tensor:
    """Return *x* in float32 if it is of half precision."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
