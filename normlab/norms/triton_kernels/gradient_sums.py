"""The two sums of the backward pass, in one launch."""

from __future__ import annotations

from typing import Tuple

import torch
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.compiling import jit, launch
from normlab.norms.triton_kernels.layout import (
    channels_of,
    dense_format,
    row_start,
    strides_of,
    tiles_of,
)


def two_dots(g: Tensor, x: Tensor, mean: Tensor) -> Tuple[Tensor, Tensor]:
    """
    Return sum(g) and sum(g * (x - mean)) over the positions, in the dtype of *mean*.

    Shape:
        (N, C, positions...) and dense of that shape and (N, C) -> (N, C), (N, C)
    """
    g = g.contiguous(memory_format=dense_format(x))
    tiles = tiles_of(x)
    s0, s1 = (torch.empty(x.shape[:2], dtype=mean.dtype, device=x.device) for _ in range(2))
    launch(
        sums_kernel, tiles.rows, x, g, mean, s0, s1, *strides_of(mean), *tiles.sizes, *tiles.blocks
    )
    return s0, s1


@jit
def sums_kernel(
    x: tl.tensor,
    g: tl.tensor,
    mean: tl.tensor,
    s0: tl.tensor,
    s1: tl.tensor,
    mean_n: tl.tensor,
    mean_c: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    stride_c: tl.tensor,
    stride_d: tl.tensor,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    """Sum a row of tiles."""
    n, c = channels_of(tl.program_id(0), channels, BLOCK_C)
    row = row_start(n, c, channels, positions, stride_c)
    m = tl.load(mean + n * mean_n + c * mean_c, mask=c < channels, other=0.0)
    d = tl.arange(0, BLOCK_D)[None, :].to(tl.int64)
    total = tl.zeros([BLOCK_C, BLOCK_D], mean.dtype.element_ty)
    dots = tl.zeros([BLOCK_C, BLOCK_D], mean.dtype.element_ty)
    for start in range(0, positions, BLOCK_D):
        inside = (c < channels) & (start + d < positions)
        place = row + (start + d) * stride_d
        slope = tl.load(g + place, mask=inside, other=0.0).to(mean.dtype.element_ty)
        values = tl.load(x + place, mask=inside, other=0.0).to(mean.dtype.element_ty)
        total += slope
        # outside the data, a non-finite mean would give NaN for 0 * (0 - mean)
        dots += tl.where(inside, slope * (values - m), 0.0)
    tl.store(s0 + n * channels + c, tl.sum(total, 1, keep_dims=True), mask=c < channels)
    tl.store(s1 + n * channels + c, tl.sum(dots, 1, keep_dims=True), mask=c < channels)
