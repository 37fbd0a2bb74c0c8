"""The data layout for kernels: (N, C, D) in one of two memory formats, cut into tiles.

In the usual format, the positions of a channel are adjacent in memory; in channels last, the
channels of a position are. A tile is longer in the adjacent direction, so that a warp reads whole
cache lines.
"""

from __future__ import annotations

from typing import NamedTuple, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.compiling import jit

_TILE = 1024  # values that a program handles at a time: eight for each of 128 threads
_LINE = 64  # channels of a tile in channels last: a cache line of 128 bytes in 16 bits
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class Tiles(NamedTuple):
    """The numbers that every kernel takes after its tensors, and the tiles of the data."""

    sizes: Tuple[int, int, int, int]  # C, D, and the strides of a channel and of a position
    blocks: Tuple[int, int]  # channels and positions of a tile, fixed at compile time
    rows: int  # the number of rows of tiles, for programs that run along a row
    all: int  # the number of tiles, for programs that take one each


def dense_format(x: Tensor) -> torch.memory_format:
    """Return channels last if *x* has it and is not contiguous, or else the usual format."""
    last = _CHANNELS_LAST.get(x.dim())
    if last is None or x.is_contiguous() or not x.is_contiguous(memory_format=last):
        return torch.contiguous_format
    return last


def dense(x: Tensor) -> Tensor:
    """Return *x* itself if it has one of the two formats, or else a contiguous copy."""
    return x.contiguous(memory_format=dense_format(x))


def tiles_of(x: Tensor) -> Tiles:
    """Cut dense *x*, (N, C, positions...)."""
    n, c = x.shape[:2]
    d = x.numel() // (n * c)
    return _cut(n, c, d, dense_format(x) is not torch.contiguous_format)


def tiles_of_all(x: Tensor) -> Tiles:
    """Cut dense *x* where samples do not matter: those of adjacent channels are one sample."""
    n, c = x.shape[:2]
    d = x.numel() // (n * c)
    last = d == 1 or dense_format(x) is not torch.contiguous_format
    return _cut(1, c, n * d, True) if last else _cut(n, c, d, False)


def _cut(n: int, c: int, d: int, channels_last: bool) -> Tiles:
    if not channels_last:
        strides = (d, 1)
        along_d = min(_TILE, triton.next_power_of_2(d))
        along_c = min(_TILE // along_d, triton.next_power_of_2(c))
    else:
        strides = (1, c)
        along_c = min(_LINE, triton.next_power_of_2(c))
        along_d = min(_TILE // along_c, triton.next_power_of_2(d))
    rows = n * triton.cdiv(c, along_c)
    return Tiles((c, d, *strides), (along_c, along_d), rows, rows * triton.cdiv(d, along_d))


def strides_of(t: Tensor) -> Tuple[int, int]:
    """Return both strides of *t*, (N, C), which are 0 in expanded dimensions."""
    return t.stride(0), t.stride(1)


@jit
def channels_of(program: tl.tensor, channels: tl.tensor, BLOCK_C: tl.constexpr) -> tl.tensor:
    """Return the sample of a row of tiles, and its channels as a column."""
    blocks = tl.cdiv(channels, BLOCK_C)
    n = (program // blocks).to(tl.int64)  # data may have more than 2^31 values
    c = (program % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    return n, c[:, None].to(tl.int64)


@jit
def tile_at(
    channels: tl.tensor, positions: tl.tensor, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr
) -> tl.tensor:
    """Return the sample, channels and positions of this program's tile, and a mask of the data."""
    along = tl.cdiv(positions, BLOCK_D)
    n, c = channels_of(tl.program_id(0) // along, channels, BLOCK_C)
    d = (tl.program_id(0) % along) * BLOCK_D + tl.arange(0, BLOCK_D)[None, :]
    return n, c, d.to(tl.int64), (c < channels) & (d < positions)


@jit
def row_start(
    n: tl.tensor, c: tl.tensor, channels: tl.tensor, positions: tl.tensor, stride_c: tl.tensor
) -> tl.tensor:
    """Return the offsets at which channels *c* of sample *n* begin."""
    return n * channels * positions + c * stride_c
