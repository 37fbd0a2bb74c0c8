"""Mean and variance of each channel of each sample, in one launch."""

from __future__ import annotations

from typing import Tuple

import torch
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.compiling import jit, launch
from normlab.norms.triton_kernels.layout import channels_of, row_start, tiles_of


def moments(x: Tensor, n: int, c: int) -> Tuple[Tensor, Tensor]:
    """
    Return mean and biased variance over the positions of dense *x*, in float32 or wider.

    Shape:
        (N, C, positions...) -> (N, C), (N, C)
    """
    tiles = tiles_of(x)
    dtype = torch.promote_types(x.dtype, torch.float32)
    mean, var = (torch.empty(n, c, dtype=dtype, device=x.device) for _ in range(2))
    launch(moments_kernel, tiles.rows, x, mean, var, *tiles.sizes, *tiles.blocks)
    return mean, var


@jit
def moments_kernel(
    x: tl.tensor,
    mean: tl.tensor,
    var: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    stride_c: tl.tensor,
    stride_d: tl.tensor,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    """Sum a row of tiles, and then, from the cache, the squared distances from the mean."""
    n, c = channels_of(tl.program_id(0), channels, BLOCK_C)
    x += row_start(n, c, channels, positions, stride_c)
    d = tl.arange(0, BLOCK_D)[None, :].to(tl.int64)
    total = tl.zeros([BLOCK_C, BLOCK_D], mean.dtype.element_ty)
    for start in range(0, positions, BLOCK_D):
        inside = (c < channels) & (start + d < positions)
        values = tl.load(x + (start + d) * stride_d, mask=inside, other=0.0)
        total += values.to(mean.dtype.element_ty)
    m = tl.sum(total, 1, keep_dims=True) / positions
    squares = tl.zeros([BLOCK_C, BLOCK_D], mean.dtype.element_ty)
    for start in range(0, positions, BLOCK_D):
        inside = (c < channels) & (start + d < positions)
        values = tl.load(x + (start + d) * stride_d, mask=inside, other=0.0)
        centred = tl.where(inside, values.to(mean.dtype.element_ty) - m, 0.0)
        squares += centred * centred
    v = tl.sum(squares, 1, keep_dims=True) / positions
    tl.store(mean + n * channels + c, m, mask=c < channels)
    tl.store(var + n * channels + c, v, mask=c < channels)
