"""Pooled moments, and sums of gradients over everything that shares a statistic.

A pool has ceil(N / s) * (C // k) cells; each is the statistic of s consecutive samples, the last
ones perhaps of fewer, and k channels, which are consecutive or, if g is not 0, g apart. A tile is
some cells by some of their values.
"""

from __future__ import annotations

from typing import Any, Tuple

import triton
import triton.language as tl

from normlab.norms.triton_kernels.compiling import jit

_TILE, _LINE = 1024, 32  # values of a tile, and adjacent channels that a tile takes at least


def tile_of_cells(pool: Any, cells: int) -> Tuple[int, int]:
    """Return the cells of a tile, and their values; the adjacent channels come first."""
    size = triton.next_power_of_2(pool.samples * pool.channels)
    if pool.channels == 1:
        return _LINE, min(_TILE // _LINE, size)
    values = min(_TILE, size)
    return min(_TILE // values, triton.next_power_of_2(cells)), values


@jit
def pools_kernel(
    mean: tl.tensor,
    var: tl.tensor,
    first: tl.tensor,
    second: tl.tensor,
    merged: tl.tensor,
    factor: tl.tensor,
    seen: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    first_s: tl.tensor,
    first_k: tl.tensor,
    first_g: tl.tensor,
    second_s: tl.tensor,
    second_k: tl.tensor,
    second_g: tl.tensor,
    POOLS: tl.constexpr,
    ABOUT_ZERO: tl.constexpr,
    GATED: tl.constexpr,
    UNBIASED: tl.constexpr,
    CELLS: tl.constexpr,
    VALUES: tl.constexpr,
    CELLS_2: tl.constexpr,
    VALUES_2: tl.constexpr,
) -> None:
    """
    Pool the moments of a tile's cells: M, V, and V over one value less, if UNBIASED also as V.

    *merged* is the number of channels that each value has been merged of already. Of the channels
    of a cell of the first pool, only the first *seen* count.
    """
    program = tl.program_id(0)
    programs = tl.cdiv(tl.cdiv(samples, first_s) * (channels // first_k), CELLS)
    if program < programs:
        _pool(
            program, mean, var, first, merged, factor, seen, samples, channels, positions,
            first_s, first_k, first_g, ABOUT_ZERO, GATED, UNBIASED, CELLS, VALUES,
        )  # fmt: skip
    elif POOLS > 1:
        _pool(
            program - programs, mean, var, second, merged, factor, second_k, samples, channels,
            positions, second_s, second_k, second_g, ABOUT_ZERO, GATED, UNBIASED, CELLS_2, VALUES_2,
        )  # fmt: skip


@jit
def pool_sums_kernel(
    solved: tl.tensor,
    s0: tl.tensor,
    s1: tl.tensor,
    first: tl.tensor,
    second: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    first_s: tl.tensor,
    first_k: tl.tensor,
    first_g: tl.tensor,
    second_s: tl.tensor,
    second_k: tl.tensor,
    second_g: tl.tensor,
    POOLS: tl.constexpr,
    CELLS: tl.constexpr,
    VALUES: tl.constexpr,
    CELLS_2: tl.constexpr,
    VALUES_2: tl.constexpr,
) -> None:
    """Sum the gradients of M and V over a tile's cells."""
    program = tl.program_id(0)
    programs = tl.cdiv(tl.cdiv(samples, first_s) * (channels // first_k), CELLS)
    if program < programs:
        _sum(
            program, solved, s0, s1, first, samples, channels,
            first_s, first_k, first_g, CELLS, VALUES,
        )  # fmt: skip
    elif POOLS > 1:
        _sum(
            program - programs, solved, s0, s1, second, samples, channels,
            second_s, second_k, second_g, CELLS_2, VALUES_2,
        )  # fmt: skip


@jit
def _pool(
    program: tl.tensor,
    mean: tl.tensor,
    var: tl.tensor,
    found: tl.tensor,
    merged: tl.tensor,
    factor: tl.tensor,
    seen: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    s: tl.tensor,
    k: tl.tensor,
    g: tl.tensor,
    ABOUT_ZERO: tl.constexpr,
    GATED: tl.constexpr,
    UNBIASED: tl.constexpr,
    CELLS: tl.constexpr,
    VALUES: tl.constexpr,
) -> None:
    cells = tl.cdiv(samples, s) * (channels // k)
    cell = program * CELLS + tl.arange(0, CELLS)[:, None]
    along = tl.arange(0, VALUES)[None, :]
    shared = samples_of(cell // (channels // k), samples, s)
    total = tl.zeros([CELLS, VALUES], tl.float32)
    for start in range(0, s * k, VALUES):
        value = start + along
        inside = (cell < cells) & (value < shared * k) & (value % k < seen)
        place = _place(cell, value, channels, s, k, g)
        total += tl.load(mean + place, mask=inside, other=0.0)
    m = tl.sum(total, 1, keep_dims=True) / (shared * seen)
    if ABOUT_ZERO:
        m = tl.zeros_like(m)
    squares = tl.zeros([CELLS, VALUES], tl.float32)
    for start in range(0, s * k, VALUES):
        value = start + along
        inside = (cell < cells) & (value < shared * k) & (value % k < seen)
        place = _place(cell, value, channels, s, k, g)
        centred = tl.load(mean + place, mask=inside, other=0.0) - m
        spread = tl.load(var + place, mask=inside, other=0.0) * factor + centred * centred
        squares += tl.where(inside, spread, 0.0)
    v = tl.sum(squares, 1, keep_dims=True) / (shared * seen)
    count = (shared * seen).to(tl.float32) * positions
    if GATED:  # each mean is of several channels
        count *= tl.load(merged)
    unbiased = v * bessel(count)
    tl.store(found + cell, m, mask=cell < cells)
    tl.store(found + cells + cell, unbiased if UNBIASED else v, mask=cell < cells)
    tl.store(found + 2 * cells + cell, unbiased, mask=cell < cells)


@jit
def _sum(
    program: tl.tensor,
    solved: tl.tensor,
    s0: tl.tensor,
    s1: tl.tensor,
    found: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    s: tl.tensor,
    k: tl.tensor,
    g: tl.tensor,
    CELLS: tl.constexpr,
    VALUES: tl.constexpr,
) -> None:
    cells = tl.cdiv(samples, s) * (channels // k)
    size = samples * channels
    cell = program * CELLS + tl.arange(0, CELLS)[:, None]
    along = tl.arange(0, VALUES)[None, :]
    shared = samples_of(cell // (channels // k), samples, s)
    of_m = tl.zeros([CELLS, VALUES], tl.float32)
    of_v = tl.zeros([CELLS, VALUES], tl.float32)
    for start in range(0, s * k, VALUES):
        inside = (cell < cells) & (start + along < shared * k)
        dm, dv = slopes_at(
            _place(cell, start + along, channels, s, k, g), inside, size, solved, s0, s1
        )
        of_m += dm
        of_v += dv
    tl.store(found + cell, tl.sum(of_m, 1, keep_dims=True), mask=cell < cells)
    tl.store(found + cells + cell, tl.sum(of_v, 1, keep_dims=True), mask=cell < cells)


@jit
def slopes_at(
    place: tl.tensor,
    inside: tl.tensor,
    size: tl.tensor,
    solved: tl.tensor,
    s0: tl.tensor,
    s1: tl.tensor,
) -> tl.tensor:
    """Return the gradients of M and V at *place*, and 0 outside, for those of shift and scale."""
    of_shift = tl.load(s0 + place, mask=inside, other=0.0)
    scale = tl.load(solved + place, mask=inside, other=0.0)
    offset = tl.load(solved + 2 * size + place, mask=inside, other=0.0)
    turn = tl.load(solved + 4 * size + place, mask=inside, other=0.0)
    of_scale = tl.load(s1 + place, mask=inside, other=0.0) + of_shift * offset
    return -scale * of_shift, turn * of_scale


@jit
def samples_of(group: tl.tensor, samples: tl.tensor, s: tl.tensor) -> tl.tensor:
    """Return the number of samples of a *group*: s, or the rest in the last one."""
    return tl.maximum(tl.minimum(samples - group * s, s), 1)  # 1 is for tiles beyond the data


@jit
def bessel(count: tl.tensor) -> tl.tensor:
    """Return count / (count - 1)."""
    return count / tl.maximum(count - 1, 1)


@jit
def _place(
    cell: tl.tensor,
    value: tl.tensor,
    channels: tl.tensor,
    s: tl.tensor,
    k: tl.tensor,
    g: tl.tensor,
) -> tl.tensor:
    """Return the place in (N, C) numbers of each *value* of each *cell*."""
    per_sample = channels // k
    within = cell % per_sample
    begin = tl.where(g > 0, within, within * k)
    return ((cell // per_sample) * s + value // k) * channels + begin + value % k * tl.maximum(g, 1)
