"""The map of Dynamic Tanh, y = weight * tanh(alpha x) + bias and an activation, and its gradients.

No value depends on another, so vectors and data in channels last are tiles of one sample.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.activating import before, codes_of, followed
from normlab.norms.triton_kernels.compiling import jit, launch
from normlab.norms.triton_kernels.layout import (
    channels_of,
    dense_format,
    row_start,
    tile_at,
    tiles_of_all,
)
from normlab.norms.triton_kernels.parts import total

_PROGRAMS = 512  # that add up gradients, if there is enough to add


def tanhed(
    x: Tensor, alpha: Tensor, weight: Optional[Tensor], bias: Optional[Tensor], following: Any
) -> Tensor:
    """
    Return y, and an activation *following* it, in the dtype and layout of dense *x*.

    Args:
        alpha: of all channels, (1,), or of each, (C,).
    """
    tiles = tiles_of_all(x)
    y = torch.empty_like(x, memory_format=dense_format(x))
    act = codes_of(following, alpha)[0]
    launch(
        tanhed_kernel, tiles.all, x, y, alpha, alpha if weight is None else weight,
        alpha if bias is None else bias, int(alpha.numel() > 1), *tiles.sizes,
        weight is not None, bias is not None, act, *tiles.blocks,
    )  # fmt: skip
    return y


def tanh_gradients(
    x: Tensor,
    g: Tensor,
    alpha: Tensor,
    weight: Optional[Tensor],
    bias: Optional[Tensor],
    following: Any,
) -> Tuple[Tensor, Tensor]:
    """
    Return the gradients of dense *x* and of weight, bias and alpha, (3, C), in two launches.

    If all channels have one alpha, its gradient is the first number of the last row.
    """
    g = g.contiguous(memory_format=dense_format(x))
    tiles = tiles_of_all(x)
    c, along = x.shape[1], tiles.blocks
    blocks = triton.cdiv(c, along[0])
    each = tiles.all // blocks  # tiles that have the same channels
    length = triton.cdiv(each, max(1, _PROGRAMS // blocks))
    parts = triton.cdiv(each, length)
    gx = torch.empty_like(x, memory_format=dense_format(x))
    found = alpha.new_empty(parts, 3, c)
    launch(
        tanh_gradients_kernel, parts * blocks, x, g, gx, alpha,
        alpha if weight is None else weight, alpha if bias is None else bias, found,
        int(alpha.numel() > 1), each, length, *tiles.sizes, weight is not None, bias is not None,
        codes_of(following, alpha)[0], *along,
    )  # fmt: skip
    return gx, total(found, shared=alpha.numel() == 1)


@jit
def tanhed_kernel(
    x: tl.tensor,
    y: tl.tensor,
    alpha: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    alpha_c: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    stride_c: tl.tensor,
    stride_d: tl.tensor,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
    ACT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    """Map one tile."""
    n, c, d, inside = tile_at(channels, positions, BLOCK_C, BLOCK_D)
    place = row_start(n, c, channels, positions, stride_c) + d * stride_d
    values = tl.load(x + place, mask=inside, other=0.0).to(alpha.dtype.element_ty)
    z = tanh(values * tl.load(alpha + c * alpha_c, mask=c < channels, other=0.0))
    if WEIGHT:
        z *= tl.load(weight + c, mask=c < channels, other=0.0)
    if BIAS:
        z += tl.load(bias + c, mask=c < channels, other=0.0)
    found = followed(z, c, c < channels, alpha, alpha, ACT, 0)
    tl.store(y + place, found.to(y.dtype.element_ty), mask=inside)


@jit
def tanh_gradients_kernel(
    x: tl.tensor,
    g: tl.tensor,
    y: tl.tensor,
    alpha: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    found: tl.tensor,
    alpha_c: tl.tensor,
    tiles: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    stride_c: tl.tensor,
    stride_d: tl.tensor,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
    ACT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    """Write *length* tiles of the gradient of x, *y*, and their part of the others."""
    blocks, along = tl.cdiv(channels, BLOCK_C), tl.cdiv(positions, BLOCK_D)
    part = tl.program_id(0) // blocks
    _, c = channels_of(tl.program_id(0) % blocks, channels, BLOCK_C)
    real = c < channels
    slope = tl.load(alpha + c * alpha_c, mask=real, other=0.0)
    w, b = tl.zeros_like(slope) + 1, tl.zeros_like(slope)
    if WEIGHT:
        w = tl.load(weight + c, mask=real, other=0.0)
    if BIAS:
        b = tl.load(bias + c, mask=real, other=0.0)
    of_weight = tl.zeros([BLOCK_C, BLOCK_D], alpha.dtype.element_ty)
    of_bias = tl.zeros([BLOCK_C, BLOCK_D], alpha.dtype.element_ty)
    of_alpha = tl.zeros([BLOCK_C, BLOCK_D], alpha.dtype.element_ty)
    for tile in range(part * length, tl.minimum((part + 1) * length, tiles)):
        d = (tile % along) * BLOCK_D + tl.arange(0, BLOCK_D)[None, :]
        n, inside = (tile // along).to(tl.int64), real & (d < positions)
        place = row_start(n, c, channels, positions, stride_c) + d.to(tl.int64) * stride_d
        values = tl.load(x + place, mask=inside, other=0.0).to(alpha.dtype.element_ty)
        of_z = tl.load(g + place, mask=inside, other=0.0).to(alpha.dtype.element_ty)
        t = tanh(values * slope)
        if ACT > 0:
            of_z, _lost = before(of_z, w * t + b, c, real, alpha, ACT, 0)
        inner = of_z * w * (1 - t * t)
        tl.store(y + place, (inner * slope).to(y.dtype.element_ty), mask=inside)
        # outside the data, a parameter that is not finite would give NaN for 0 times it
        of_weight += tl.where(inside, of_z * t, 0.0)
        of_bias += tl.where(inside, of_z, 0.0)
        of_alpha += tl.where(inside, inner * values, 0.0)
    to = found + part * 3 * channels + c
    tl.store(to, tl.sum(of_weight, 1, keep_dims=True), mask=real)
    tl.store(to + channels, tl.sum(of_bias, 1, keep_dims=True), mask=real)
    tl.store(to + 2 * channels, tl.sum(of_alpha, 1, keep_dims=True), mask=real)


@jit
def tanh(z: tl.tensor) -> tl.tensor:
    """Return the hyperbolic tangent, by its series where a difference would lose digits."""
    e = tl.exp(-2 * tl.abs(z))
    far = (1 - e) / (1 + e)
    q = z * z
    near = -17.0 / 315 + q * (62.0 / 2835 - q * (1382.0 / 155925))
    near = z + z * q * (-1.0 / 3 + q * (2.0 / 15 + q * near))
    return tl.where(tl.abs(z) < 0.25, near, tl.where(z < 0, -far, far))
