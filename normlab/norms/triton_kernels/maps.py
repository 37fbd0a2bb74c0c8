"""The maps that write data: y in the forward pass, and the gradient of x in the backward pass."""

from __future__ import annotations

from typing import Any, Optional

import torch
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.activating import before, codes_of, followed
from normlab.norms.triton_kernels.compiling import jit, launch
from normlab.norms.triton_kernels.layout import (
    dense_format,
    row_start,
    strides_of,
    tile_at,
    tiles_of,
)


def affine(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    center: Optional[Tensor] = None,
    following: Any = None,
) -> Tensor:
    """
    Return scale * (x - center) + shift, and what follows it, in the dtype and layout of dense *x*.

    Shape:
        (N, C, positions...) and (N, C), which may be expanded, -> (N, C, positions...)
    """
    tiles = tiles_of(x)
    y = torch.empty_like(x, memory_format=dense_format(x))
    middle = scale if center is None else center  # not read if there is no center
    act, after, *numbers = codes_of(following, scale)
    launch(
        affine_kernel, tiles.all, x, y, scale, shift, middle, *numbers,
        *strides_of(scale), *strides_of(shift), *strides_of(middle),
        *tiles.sizes, center is not None, act, after, *tiles.blocks,
    )  # fmt: skip
    return y


def combine(
    x: Tensor,
    g: Tensor,
    of_x: Tensor,
    of_g: Tensor,
    shift: Tensor,
    mean: Optional[Tensor] = None,
    following: Any = None,
    map_shift: Optional[Tensor] = None,
) -> Tensor:
    """
    Return of_x * x + of_g * g + shift or, with a *mean*, the gradient of normalized data.

    The latter is 2 of_x / D * (x - mean) + of_g * g + shift / D, where *of_x* and *shift* are the
    gradients of the variance and of the mean over D positions. Something *following* the map,
    whose shift is *map_shift* and whose scale is *of_g*, replaces g by the gradient before it.

    Shape:
        dense (N, C, positions...), that shape, and (N, C), which may be expanded
        -> (N, C, positions...), in the dtype and layout of x
    """
    g = g.contiguous(memory_format=dense_format(x))
    tiles = tiles_of(x)
    y = torch.empty_like(x, memory_format=dense_format(x))
    middle = of_x if mean is None else mean
    of_map = of_x if map_shift is None else map_shift
    act, after, *numbers = codes_of(following, of_x)
    launch(
        combine_kernel, tiles.all, x, g, y, of_x, of_g, shift, middle, of_map, numbers[0],
        *strides_of(of_x), *strides_of(of_g), *strides_of(shift), *strides_of(middle),
        *strides_of(of_map), *tiles.sizes, mean is not None, act, after, *tiles.blocks,
    )  # fmt: skip
    return y


@jit
def affine_kernel(
    x: tl.tensor,
    y: tl.tensor,
    scale: tl.tensor,
    shift: tl.tensor,
    center: tl.tensor,
    after: tl.tensor,
    then: tl.tensor,
    scale_n: tl.tensor,
    scale_c: tl.tensor,
    shift_n: tl.tensor,
    shift_c: tl.tensor,
    center_n: tl.tensor,
    center_c: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    stride_c: tl.tensor,
    stride_d: tl.tensor,
    CENTRED: tl.constexpr,
    ACT: tl.constexpr,
    AFTER: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    """Map one tile."""
    n, c, d, inside = tile_at(channels, positions, BLOCK_C, BLOCK_D)
    place = row_start(n, c, channels, positions, stride_c) + d * stride_d
    values = tl.load(x + place, mask=inside, other=0.0).to(scale.dtype.element_ty)
    if CENTRED:
        values -= _numbers(center, n, c, center_n, center_c, channels)
    of_x = _numbers(scale, n, c, scale_n, scale_c, channels)
    found = of_x * values + _numbers(shift, n, c, shift_n, shift_c, channels)
    found = followed(found, c, c < channels, after, then, ACT, AFTER)
    tl.store(y + place, found.to(y.dtype.element_ty), mask=inside)


@jit
def combine_kernel(
    x: tl.tensor,
    g: tl.tensor,
    y: tl.tensor,
    of_x: tl.tensor,
    of_g: tl.tensor,
    shift: tl.tensor,
    center: tl.tensor,
    of_map: tl.tensor,
    after: tl.tensor,
    x_n: tl.tensor,
    x_c: tl.tensor,
    g_n: tl.tensor,
    g_c: tl.tensor,
    shift_n: tl.tensor,
    shift_c: tl.tensor,
    center_n: tl.tensor,
    center_c: tl.tensor,
    map_n: tl.tensor,
    map_c: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    stride_c: tl.tensor,
    stride_d: tl.tensor,
    CENTRED: tl.constexpr,
    ACT: tl.constexpr,
    AFTER: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    """Combine one tile of each."""
    n, c, d, inside = tile_at(channels, positions, BLOCK_C, BLOCK_D)
    place = row_start(n, c, channels, positions, stride_c) + d * stride_d
    values = tl.load(x + place, mask=inside, other=0.0).to(of_x.dtype.element_ty)
    slope = tl.load(g + place, mask=inside, other=0.0).to(of_x.dtype.element_ty)
    by_x = _numbers(of_x, n, c, x_n, x_c, channels)
    by_g = _numbers(of_g, n, c, g_n, g_c, channels)
    rest = _numbers(shift, n, c, shift_n, shift_c, channels)
    if CENTRED:  # the coefficients are gradients of moments
        values -= _numbers(center, n, c, center_n, center_c, channels)
        by_x = 2 * by_x / positions
        rest = rest / positions
    if ACT + AFTER > 0:
        z = by_g * values + _numbers(of_map, n, c, map_n, map_c, channels)
        slope, _ = before(slope, z, c, c < channels, after, ACT, AFTER)
    found = by_x * values + by_g * slope + rest
    tl.store(y + place, found.to(y.dtype.element_ty), mask=inside)


@jit
def _numbers(
    t: tl.tensor,
    n: tl.tensor,
    c: tl.tensor,
    stride_n: tl.tensor,
    stride_c: tl.tensor,
    channels: tl.tensor,
) -> tl.tensor:
    """Return the values of *t*, (N, C), for channels *c* of sample *n*, as a column."""
    return tl.load(t + n * stride_n + c * stride_c, mask=c < channels, other=0.0)
