"""Groups of samples that share statistics, cut into parts for one program each.

Data are (G, V, C, D) in one of two memory formats, as in `layout`: G groups of V samples. A
statistic is over V samples and D positions. A part has some consecutive tiles of them, so that many
programs work on one statistic, and the programs after them add up what the parts found, always in
the same order. Numbers of parts are (G, P, C).
"""

from __future__ import annotations

from typing import NamedTuple, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.compiling import jit
from normlab.norms.triton_kernels.layout import dense_format

_TILE = 1024  # values of a tile: eight for each of 128 threads
_LEAST = 128  # with fewer values than threads, a histogram would count some twice
_TILES = 16  # of a part, unless there would be too many parts
_MOST_PARTS = 64


class Parts(NamedTuple):
    """The numbers that the kernels take after their tensors, and how many parts there are."""

    sizes: Tuple[int, ...]  # P, tiles of a part, V, C, D, and the strides of a channel and position
    blocks: Tuple[int, int]  # channels and positions of a tile, fixed at compile time
    groups: int
    programs: int  # one for each part and block of channels

    def shape(self) -> Tuple[int, int, int]:
        """Return the shape of a number for each part and channel, (G, P, C)."""
        return self.groups, self.sizes[0], self.sizes[3]

    def values(self) -> int:
        """Return how many values a statistic is over."""
        return self.sizes[2] * self.sizes[4]


def parts_of(x: Tensor, samples: int, most_channels: int) -> Parts:
    """Cut dense *x*, (N, C, positions...), where *samples* share statistics."""
    n, c = x.shape[:2]
    d = x.numel() // (n * c)
    v, strides = samples, (d, 1)
    if d == 1 or dense_format(x) is not torch.contiguous_format:
        # the samples of a group are adjacent positions
        v, d, strides = 1, samples * d, (1, c)
        along_c = min(most_channels, triton.next_power_of_2(c))
        along_d = min(_TILE // along_c, triton.next_power_of_2(d))
    else:
        along_d = min(_TILE, triton.next_power_of_2(d))
        along_c = min(_TILE // along_d, most_channels, triton.next_power_of_2(c))
    along_d = max(along_d, _LEAST // along_c)
    tiles = v * triton.cdiv(d, along_d)
    steps = max(_TILES, triton.cdiv(tiles, _MOST_PARTS))
    parts, groups = triton.cdiv(tiles, steps), n // samples
    programs = groups * parts * triton.cdiv(c, along_c)
    return Parts((parts, steps, v, c, d, *strides), (along_c, along_d), groups, programs)


@jit
def part_of(
    program: tl.tensor, part_count: tl.tensor, channels: tl.tensor, BLOCK_C: tl.constexpr
) -> tl.tensor:
    """Return the group and the part of a program, and its channels as a column."""
    blocks = tl.cdiv(channels, BLOCK_C)
    c = (program % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    part = program // blocks
    return (part // part_count).to(tl.int64), part % part_count, c[:, None].to(tl.int64)


@jit
def tile_of(
    tile: tl.tensor,
    group: tl.tensor,
    c: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    stride_c: tl.tensor,
    stride_d: tl.tensor,
    BLOCK_D: tl.constexpr,
) -> tl.tensor:
    """Return the places of the data in a *tile* of a group, and a mask of the data."""
    along = tl.cdiv(positions, BLOCK_D)
    d = (tile % along) * BLOCK_D + tl.arange(0, BLOCK_D)[None, :]
    n = group * samples + tile // along
    place = n * channels * positions + c * stride_c + d.to(tl.int64) * stride_d
    return place, (c < channels) & (d < positions)


@jit
def tiles_end(
    part: tl.tensor,
    tiles: tl.tensor,
    samples: tl.tensor,
    positions: tl.tensor,
    BLOCK_D: tl.constexpr,
) -> tl.tensor:
    """Return the number of the tile after the last one of *part*."""
    return tl.minimum((part + 1) * tiles, samples * tl.cdiv(positions, BLOCK_D))


@jit
def total_of(
    numbers: tl.tensor, group: tl.tensor, c: tl.tensor, part_count: tl.tensor, channels: tl.tensor
) -> tl.tensor:
    """Return the sum of a group's *numbers* over its parts."""
    place = numbers + group * part_count * channels + c
    total = tl.load(place, mask=c < channels, other=0.0)
    for part in range(1, part_count):
        total += tl.load(place + part * channels, mask=c < channels, other=0.0)
    return total


@jit
def bits_of(centred: tl.tensor) -> tl.tensor:
    """Return |centred| as whole numbers in the same order; NaN is the largest, as in a sort."""
    return centred.to(tl.int32, bitcast=True) & 0x7FFFFFFF
