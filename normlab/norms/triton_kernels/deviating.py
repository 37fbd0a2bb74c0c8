"""Means and deviations of groups of samples, as in `norms.deviations`: all, or the largest one.

Each program sums over one of the parts; then a program for each group and some channels finishes.
For the largest deviation, each part counts its ties. Of all ties of a statistic, the first is
chosen.
"""

from __future__ import annotations

import triton.language as tl

from normlab.norms.triton_kernels.compiling import jit
from normlab.norms.triton_kernels.group_parts import bits_of, part_of, tile_of, tiles_end, total_of


@jit
def part_sums_kernel(
    x: tl.tensor,
    sums: tl.tensor,
    part_count: tl.tensor,
    tiles: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    stride_c: tl.tensor,
    stride_d: tl.tensor,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    """Sum the values of a part."""
    group, part, c = part_of(tl.program_id(0), part_count, channels, BLOCK_C)
    total = tl.zeros([BLOCK_C, BLOCK_D], tl.float32)
    for tile in range(part * tiles, tiles_end(part, tiles, samples, positions, BLOCK_D)):
        place, inside = tile_of(
            tile, group, c, samples, channels, positions, stride_c, stride_d, BLOCK_D
        )
        total += tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    found = sums + (group * part_count + part) * channels + c
    tl.store(found, tl.sum(total, 1, keep_dims=True), mask=c < channels)


@jit
def part_deviations_kernel(
    x: tl.tensor,
    sums: tl.tensor,
    found: tl.tensor,
    ties: tl.tensor,
    part_count: tl.tensor,
    tiles: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    stride_c: tl.tensor,
    stride_d: tl.tensor,
    LARGEST: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    """Sum the deviations of a part or, with LARGEST, write its largest one, and its ties."""
    group, part, c = part_of(tl.program_id(0), part_count, channels, BLOCK_C)
    m = total_of(sums, group, c, part_count, channels) / (samples * positions)
    total = tl.zeros([BLOCK_C, BLOCK_D], tl.float32)
    most = tl.zeros([BLOCK_C, BLOCK_D], tl.int32) - 1
    count = tl.zeros([BLOCK_C, BLOCK_D], tl.int32)
    for tile in range(part * tiles, tiles_end(part, tiles, samples, positions, BLOCK_D)):
        place, inside = tile_of(
            tile, group, c, samples, channels, positions, stride_c, stride_d, BLOCK_D
        )
        centred = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - m
        if LARGEST:
            bits = tl.where(inside, bits_of(centred), -1)
            count = tl.where(bits > most, 1, count + tl.where(bits == most, 1, 0))
            most = tl.maximum(most, bits)
        else:
            total += tl.where(inside, tl.abs(centred), 0.0)
    at = (group * part_count + part) * channels + c
    if LARGEST:
        top = tl.max(most, 1, keep_dims=True)
        equal = tl.sum(tl.where(most == top, count, 0), 1, keep_dims=True)
        tl.store(found + at, top.to(tl.float32, bitcast=True), mask=c < channels)
        tl.store(ties + at, equal, mask=c < channels)
    else:
        tl.store(found + at, tl.sum(total, 1, keep_dims=True), mask=c < channels)


@jit
def deviation_kernel(
    sums: tl.tensor,
    found: tl.tensor,
    ties: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    numbers: tl.tensor,
    least: tl.tensor,
    allowed: tl.tensor,
    groups: tl.tensor,
    part_count: tl.tensor,
    channels: tl.tensor,
    length: tl.tensor,
    constant: tl.tensor,
    eps: tl.tensor,
    LARGEST: tl.constexpr,
    RECIPROCAL: tl.constexpr,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Finish some channels of a group: its deviation, and the numbers of `write_numbers`."""
    group, _, c = part_of(tl.program_id(0), 1, channels, BLOCK)
    m = total_of(sums, group, c, part_count, channels) / length
    inside = c < channels
    if LARGEST:
        at = group * part_count * channels + c
        top = tl.zeros([BLOCK, 1], tl.int32)
        for part in range(part_count):
            of_part = tl.load(found + at + part * channels, mask=inside, other=0.0)
            top = tl.maximum(top, of_part.to(tl.int32, bitcast=True))
        left = tl.zeros([BLOCK, 1], tl.int32) + 1
        for part in range(part_count):
            of_part = tl.load(found + at + part * channels, mask=inside, other=0.0)
            equal = tl.load(ties + at + part * channels, mask=inside, other=0)
            equal = tl.where(of_part.to(tl.int32, bitcast=True) == top, equal, 0)
            taken = tl.minimum(equal, left)
            tl.store(allowed + at + part * channels, taken, mask=inside)
            left -= taken
        tl.store(least + group * channels + c, top, mask=inside)
        deviation = top.to(tl.float32, bitcast=True)
    else:
        deviation = total_of(found, group, c, part_count, channels) / length
    write_numbers(
        m, deviation, group, c, weight, bias, numbers, groups, channels, constant, eps,
        RECIPROCAL, WEIGHT, BIAS,
    )  # fmt: skip


@jit
def write_numbers(
    m: tl.tensor,
    deviation: tl.tensor,
    group: tl.tensor,
    c: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    numbers: tl.tensor,
    groups: tl.tensor,
    channels: tl.tensor,
    constant: tl.tensor,
    eps: tl.tensor,
    RECIPROCAL: tl.constexpr,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
) -> None:
    """Write mean, scale, shift, factor and tracked value, (5, G, C)."""
    inside = c < channels
    scaled = constant * deviation
    factor = 1.0 / (scaled + eps)
    scale = factor
    if WEIGHT:
        scale = factor * tl.load(weight + c, mask=inside, other=0.0).to(tl.float32)
    shift = tl.zeros_like(factor)
    if BIAS:
        shift += tl.load(bias + c, mask=inside, other=0.0).to(tl.float32)
    tracked = scaled * scaled
    if RECIPROCAL:
        tracked = factor
    size, at = groups * channels, numbers + group * channels + c
    tl.store(at, m, mask=inside)
    tl.store(at + size, scale, mask=inside)
    tl.store(at + 2 * size, shift, mask=inside)
    tl.store(at + 3 * size, factor, mask=inside)
    tl.store(at + 4 * size, tracked, mask=inside)
