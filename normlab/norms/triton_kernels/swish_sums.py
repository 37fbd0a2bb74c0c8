"""The sums of EvoNorm-S0's backward pass: over positions, then over groups and over samples."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.compiling import jit, launch
from normlab.norms.triton_kernels.layout import channels_of, dense_format, row_start, tiles_of
from normlab.norms.triton_kernels.parts import total
from normlab.norms.triton_kernels.pooling import tile_of_cells
from normlab.norms.triton_kernels.swishes import sigmoid

_LINE = 32  # channels of a tile
_MOST = 1024  # samples that a program adds up


def swish_sums(x: Tensor, g: Tensor, v: Tensor) -> Tensor:
    """
    Return sum(g x s), sum(g) and sum(g x^2 s (1 - s)) over the positions of dense *x*.

    Shape:
        (N, C, positions...) twice and (C,) -> (3, N, C)
    """
    g = g.contiguous(memory_format=dense_format(x))
    tiles = tiles_of(x)
    sums = v.new_empty(3, *x.shape[:2])
    launch(swish_sums_kernel, tiles.rows, x, g, v, *sums, *tiles.sizes, *tiles.blocks)
    return sums


def swish_slopes(
    sums: Tensor, weight: Optional[Tensor], var: Tensor, pool: Any, positions: int, eps: float
) -> Tuple[Tensor, Tensor]:
    """
    Return the factors of x - M in the gradient of x, and the gradients of weight, bias and v.

    This is one launch, and one more for more than 1024 samples.

    Args:
        sums: the result of `swish_sums`.
        var: V of each group of each sample, (N * G,).
        pool: the channels of a group, as in `solve_forms.Pool`.
        positions: their number.

    Shape:
        (3, N, C) -> (N * G,), (3, C)
    """
    (n, c), cells = sums.shape[1:], var.shape[0]
    blocks, parts = triton.cdiv(c, _LINE), triton.cdiv(n, _MOST)
    slopes, found = torch.empty_like(var), var.new_empty(parts, 3, c)
    tile = tile_of_cells(pool, cells)
    launch(
        swish_slopes_kernel, triton.cdiv(cells, tile[0]) + blocks * parts, sums[0], sums[1],
        sums[2], sums if weight is None else weight, var, slopes, found, eps, cells, n, c,
        pool.channels, positions, triton.cdiv(n, parts), weight is not None, *tile,
        _LINE, min(_LINE, triton.next_power_of_2(n)),
    )  # fmt: skip
    return slopes, total(found)


@jit
def swish_sums_kernel(
    x: tl.tensor,
    g: tl.tensor,
    v: tl.tensor,
    of_scale: tl.tensor,
    of_shift: tl.tensor,
    of_turn: tl.tensor,
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
    turn = tl.load(v + c, mask=c < channels, other=0.0)
    d = tl.arange(0, BLOCK_D)[None, :].to(tl.int64)
    scales = tl.zeros([BLOCK_C, BLOCK_D], v.dtype.element_ty)
    shifts = tl.zeros([BLOCK_C, BLOCK_D], v.dtype.element_ty)
    turns = tl.zeros([BLOCK_C, BLOCK_D], v.dtype.element_ty)
    for start in range(0, positions, BLOCK_D):
        inside = (c < channels) & (start + d < positions)
        place = row + (start + d) * stride_d
        slope = tl.load(g + place, mask=inside, other=0.0).to(v.dtype.element_ty)
        values = tl.load(x + place, mask=inside, other=0.0).to(v.dtype.element_ty)
        s = sigmoid(turn * values)
        along = tl.where(inside, slope * values * s, 0.0)  # v may not be finite
        scales += along
        shifts += slope
        turns += tl.where(inside, along * values * (1 - s), 0.0)
    place = n * channels + c
    tl.store(of_scale + place, tl.sum(scales, 1, keep_dims=True), mask=c < channels)
    tl.store(of_shift + place, tl.sum(shifts, 1, keep_dims=True), mask=c < channels)
    tl.store(of_turn + place, tl.sum(turns, 1, keep_dims=True), mask=c < channels)


@jit
def swish_slopes_kernel(
    of_scale: tl.tensor,
    of_shift: tl.tensor,
    of_turn: tl.tensor,
    weight: tl.tensor,
    var: tl.tensor,
    slopes: tl.tensor,
    found: tl.tensor,
    eps: tl.tensor,
    cells: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    shared: tl.tensor,
    positions: tl.tensor,
    length: tl.tensor,
    WEIGHT: tl.constexpr,
    CELLS: tl.constexpr,
    VALUES: tl.constexpr,
    CHANNELS: tl.constexpr,
    SAMPLES: tl.constexpr,
) -> None:
    """Sum over the channels of a tile's groups or, in later programs, over *length* samples."""
    program = tl.program_id(0)
    programs = tl.cdiv(cells, CELLS)
    if program < programs:
        _of_groups(
            program, of_scale, weight, var, slopes, eps, cells, channels, shared, positions,
            WEIGHT, CELLS, VALUES,
        )  # fmt: skip
    else:
        _of_channels(
            program - programs, of_scale, of_shift, of_turn, weight, var, found, eps, samples,
            channels, shared, length, WEIGHT, CHANNELS, SAMPLES,
        )  # fmt: skip


@jit
def _of_groups(
    program: tl.tensor,
    of_scale: tl.tensor,
    weight: tl.tensor,
    var: tl.tensor,
    slopes: tl.tensor,
    eps: tl.tensor,
    cells: tl.tensor,
    channels: tl.tensor,
    shared: tl.tensor,
    positions: tl.tensor,
    WEIGHT: tl.constexpr,
    CELLS: tl.constexpr,
    VALUES: tl.constexpr,
) -> None:
    cell = program * CELLS + tl.arange(0, CELLS)[:, None]
    along = tl.arange(0, VALUES)[None, :]
    of_unit = tl.zeros([CELLS, VALUES], tl.float32)
    for start in range(0, shared, VALUES):
        inside = (cell < cells) & (start + along < shared)
        place = cell * shared + start + along  # of (N, C), because groups are adjacent
        part = tl.load(of_scale + place, mask=inside, other=0.0)
        if WEIGHT:
            part *= tl.load(weight + place % channels, mask=inside, other=0.0)
        of_unit += part
    unit = tl.rsqrt(tl.load(var + cell, mask=cell < cells, other=1.0) + eps)
    slope = tl.sum(of_unit, 1, keep_dims=True) * (-unit * unit * unit / (shared * positions))
    tl.store(slopes + cell, slope, mask=cell < cells)


@jit
def _of_channels(
    program: tl.tensor,
    of_scale: tl.tensor,
    of_shift: tl.tensor,
    of_turn: tl.tensor,
    weight: tl.tensor,
    var: tl.tensor,
    found: tl.tensor,
    eps: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    shared: tl.tensor,
    length: tl.tensor,
    WEIGHT: tl.constexpr,
    CHANNELS: tl.constexpr,
    SAMPLES: tl.constexpr,
) -> None:
    blocks = tl.cdiv(channels, CHANNELS)
    part = program // blocks
    c = (program % blocks) * CHANNELS + tl.arange(0, CHANNELS)[:, None]
    of_weight = tl.zeros([CHANNELS, SAMPLES], tl.float32)
    of_bias = tl.zeros([CHANNELS, SAMPLES], tl.float32)
    of_v = tl.zeros([CHANNELS, SAMPLES], tl.float32)
    for start in range(0, length, SAMPLES):
        along = start + tl.arange(0, SAMPLES)[None, :]
        n = part * length + along
        inside = (c < channels) & (along < length) & (n < samples)
        cell = n * (channels // shared) + c // shared
        unit = tl.rsqrt(tl.load(var + cell, mask=inside, other=1.0) + eps)
        place = n * channels + c
        of_weight += unit * tl.load(of_scale + place, mask=inside, other=0.0)
        of_bias += tl.load(of_shift + place, mask=inside, other=0.0)
        of_v += unit * tl.load(of_turn + place, mask=inside, other=0.0)
    inside = c < channels
    dv = tl.sum(of_v, 1, keep_dims=True)
    if WEIGHT:
        dv *= tl.load(weight + c, mask=inside, other=0.0)
    to = found + part * 3 * channels + c
    tl.store(to, tl.sum(of_weight, 1, keep_dims=True), mask=inside)
    tl.store(to + channels, tl.sum(of_bias, 1, keep_dims=True), mask=inside)
    tl.store(to + 2 * channels, dv, mask=inside)
