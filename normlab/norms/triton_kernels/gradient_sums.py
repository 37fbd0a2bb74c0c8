"""The sums of the backward pass, in one launch."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.activating import before, codes_of
from normlab.norms.triton_kernels.compiling import jit, launch
from normlab.norms.triton_kernels.layout import (
    channels_of,
    dense_format,
    row_start,
    strides_of,
    tiles_of,
)


def two_dots(
    g: Tensor,
    x: Tensor,
    mean: Tensor,
    following: Any = None,
    scale: Optional[Tensor] = None,
    shift: Optional[Tensor] = None,
) -> Tuple[Tensor, ...]:
    """
    Return sum(g) and sum(g * (x - mean)) over the positions, in the dtype of *mean*.

    Something *following* the map with *scale* and *shift* replaces g by the gradient before it.
    Then there are two more sums, the gradients of the numbers that it has for each channel.

    Shape:
        (N, C, positions...) and dense of that shape and (N, C), which may be expanded, -> (N, C)
    """
    g = g.contiguous(memory_format=dense_format(x))
    tiles = tiles_of(x)
    count = 2 if following is None else 4
    sums = [torch.empty(x.shape[:2], dtype=mean.dtype, device=x.device) for _ in range(count)]
    act, after, *numbers = codes_of(following, mean)
    of_map = [mean if t is None else t for t in (scale, shift)]
    launch(
        sums_kernel, tiles.rows, x, g, mean, *of_map, numbers[0], *sums[:2], *sums[-2:],
        *strides_of(mean), *strides_of(of_map[0]), *strides_of(of_map[1]),
        *tiles.sizes, act, after, *tiles.blocks,
    )  # fmt: skip
    return tuple(sums)


@jit
def sums_kernel(
    x: tl.tensor,
    g: tl.tensor,
    mean: tl.tensor,
    scale: tl.tensor,
    shift: tl.tensor,
    after: tl.tensor,
    s0: tl.tensor,
    s1: tl.tensor,
    of_after: tl.tensor,
    of_then: tl.tensor,
    mean_n: tl.tensor,
    mean_c: tl.tensor,
    scale_n: tl.tensor,
    scale_c: tl.tensor,
    shift_n: tl.tensor,
    shift_c: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    stride_c: tl.tensor,
    stride_d: tl.tensor,
    ACT: tl.constexpr,
    AFTER: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    """Sum a row of tiles."""
    n, c = channels_of(tl.program_id(0), channels, BLOCK_C)
    row = row_start(n, c, channels, positions, stride_c)
    m = tl.load(mean + n * mean_n + c * mean_c, mask=c < channels, other=0.0)
    a = tl.load(scale + n * scale_n + c * scale_c, mask=c < channels, other=0.0)
    b = tl.load(shift + n * shift_n + c * shift_c, mask=c < channels, other=0.0)
    d = tl.arange(0, BLOCK_D)[None, :].to(tl.int64)
    total = tl.zeros([BLOCK_C, BLOCK_D], mean.dtype.element_ty)
    dots = tl.zeros([BLOCK_C, BLOCK_D], mean.dtype.element_ty)
    afters = tl.zeros([BLOCK_C, BLOCK_D], mean.dtype.element_ty)
    thens = tl.zeros([BLOCK_C, BLOCK_D], mean.dtype.element_ty)
    for start in range(0, positions, BLOCK_D):
        inside = (c < channels) & (start + d < positions)
        place = row + (start + d) * stride_d
        slope = tl.load(g + place, mask=inside, other=0.0).to(mean.dtype.element_ty)
        values = tl.load(x + place, mask=inside, other=0.0).to(mean.dtype.element_ty)
        if ACT + AFTER > 0:
            thens += slope
            slope, lost = before(slope, a * (values - m) + b, c, c < channels, after, ACT, AFTER)
            # outside the data, a map that is not finite would give NaN for 0 times it
            slope = tl.where(inside, slope, 0.0)
            afters += tl.where(inside, lost, 0.0)
        total += slope
        dots += tl.where(inside, slope * (values - m), 0.0)  # a mean may not be finite either
    place = n * channels + c
    tl.store(s0 + place, tl.sum(total, 1, keep_dims=True), mask=c < channels)
    tl.store(s1 + place, tl.sum(dots, 1, keep_dims=True), mask=c < channels)
    if AFTER > 0:
        tl.store(of_after + place, tl.sum(afters, 1, keep_dims=True), mask=c < channels)
        tl.store(of_then + place, tl.sum(thens, 1, keep_dims=True), mask=c < channels)
