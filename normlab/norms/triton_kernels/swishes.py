"""The map of EvoNorm-S0 and its gradient: a swish of each value over the deviation of its group.

y = weight * x * s / sqrt(V + eps) + bias, with s = sigmoid(v x). M and V are of a group of channels
of a sample, (N, G); weight, bias and v are of a channel.
"""

from __future__ import annotations

from typing import Optional

import torch
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.compiling import jit, launch
from normlab.norms.triton_kernels.layout import dense_format, row_start, tile_at, tiles_of


def swished(
    x: Tensor,
    v: Tensor,
    weight: Optional[Tensor],
    bias: Optional[Tensor],
    var: Tensor,
    shared: int,
    eps: float,
) -> Tensor:
    """
    Return y in the dtype and layout of dense *x*, in one launch.

    Args:
        var: V of each group of each sample, (N * G,).
        shared: the number of channels of a group.
    """
    tiles = tiles_of(x)
    y = torch.empty_like(x, memory_format=dense_format(x))
    launch(
        swished_kernel, tiles.all, x, y, v, v if weight is None else weight,
        v if bias is None else bias, var, eps, shared, *tiles.sizes,
        weight is not None, bias is not None, *tiles.blocks,
    )  # fmt: skip
    return y


def swish_gradient(
    x: Tensor,
    g: Tensor,
    v: Tensor,
    weight: Optional[Tensor],
    moments: Tensor,
    slopes: Tensor,
    shared: int,
    eps: float,
) -> Tensor:
    """
    Return the gradient of dense *x*, in one launch.

    Args:
        moments: M and V, (2 or more, N * G).
        slopes: of `swish_slopes`, the factors of x - M, (N * G,).
    """
    g = g.contiguous(memory_format=dense_format(x))
    tiles = tiles_of(x)
    gx = torch.empty_like(x, memory_format=dense_format(x))
    launch(
        swish_gradient_kernel, tiles.all, x, g, gx, v, v if weight is None else weight,
        moments[0], moments[1], slopes, eps, shared, *tiles.sizes,
        weight is not None, *tiles.blocks,
    )  # fmt: skip
    return gx


@jit
def swished_kernel(
    x: tl.tensor,
    y: tl.tensor,
    v: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    var: tl.tensor,
    eps: tl.tensor,
    shared: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    stride_c: tl.tensor,
    stride_d: tl.tensor,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    """Map one tile."""
    n, c, d, inside = tile_at(channels, positions, BLOCK_C, BLOCK_D)
    place = row_start(n, c, channels, positions, stride_c) + d * stride_d
    values = tl.load(x + place, mask=inside, other=0.0).to(v.dtype.element_ty)
    turn = tl.load(v + c, mask=c < channels, other=0.0)
    cell = n * (channels // shared) + c // shared
    scale = tl.rsqrt(tl.load(var + cell, mask=c < channels, other=1.0) + eps)
    if WEIGHT:
        scale *= tl.load(weight + c, mask=c < channels, other=0.0)
    found = values * sigmoid(turn * values) * scale
    if BIAS:
        found += tl.load(bias + c, mask=c < channels, other=0.0)
    tl.store(y + place, found.to(y.dtype.element_ty), mask=inside)


@jit
def swish_gradient_kernel(
    x: tl.tensor,
    g: tl.tensor,
    y: tl.tensor,
    v: tl.tensor,
    weight: tl.tensor,
    mean: tl.tensor,
    var: tl.tensor,
    slopes: tl.tensor,
    eps: tl.tensor,
    shared: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    stride_c: tl.tensor,
    stride_d: tl.tensor,
    WEIGHT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    """Write one tile of the gradient of x, *y*."""
    n, c, d, inside = tile_at(channels, positions, BLOCK_C, BLOCK_D)
    place = row_start(n, c, channels, positions, stride_c) + d * stride_d
    values = tl.load(x + place, mask=inside, other=0.0).to(v.dtype.element_ty)
    of_y = tl.load(g + place, mask=inside, other=0.0).to(v.dtype.element_ty)
    turn = tl.load(v + c, mask=c < channels, other=0.0)
    cell = n * (channels // shared) + c // shared
    m = tl.load(mean + cell, mask=c < channels, other=0.0)
    slope = tl.load(slopes + cell, mask=c < channels, other=0.0)
    scale = tl.rsqrt(tl.load(var + cell, mask=c < channels, other=1.0) + eps)
    if WEIGHT:
        scale *= tl.load(weight + c, mask=c < channels, other=0.0)
    s = sigmoid(turn * values)
    found = of_y * scale * s * (1 + turn * values * (1 - s)) + slope * (values - m)
    tl.store(y + place, found.to(y.dtype.element_ty), mask=inside)


@jit
def sigmoid(z: tl.tensor) -> tl.tensor:
    """Return 1 / (1 + exp(-z))."""
    return 1 / (1 + tl.exp(-z))
