"""The backward pass of norms that divide by a deviation A; `norms.deviations` has the formula.

With s the signs of the deviations in A, and 0 elsewhere, gx = scale * g + slope * s + rest.
"""

from __future__ import annotations

import triton.language as tl

from normlab.norms.triton_kernels.compiling import jit
from normlab.norms.triton_kernels.group_parts import bits_of, part_of, tile_of, tiles_end, total_of


@jit
def part_slopes_kernel(
    x: tl.tensor,
    g: tl.tensor,
    numbers: tl.tensor,
    least: tl.tensor,
    allowed: tl.tensor,
    sums: tl.tensor,
    groups: tl.tensor,
    part_count: tl.tensor,
    tiles: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    stride_c: tl.tensor,
    stride_d: tl.tensor,
    SOME: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    """Write the sums of g, g * (x - M) and s of a part, (3, G, P, C)."""
    group, part, c = part_of(tl.program_id(0), part_count, channels, BLOCK_C)
    inside_c = c < channels
    m = tl.load(numbers + group * channels + c, mask=inside_c, other=0.0)
    at = (group * part_count + part) * channels + c
    bottom, ties = _limits(least, allowed, group * channels + c, at, inside_c, SOME)
    total = tl.zeros([BLOCK_C, BLOCK_D], tl.float32)
    dots = tl.zeros([BLOCK_C, BLOCK_D], tl.float32)
    signs = tl.zeros([BLOCK_C, BLOCK_D], tl.float32)
    for tile in range(part * tiles, tiles_end(part, tiles, samples, positions, BLOCK_D)):
        place, inside = tile_of(
            tile, group, c, samples, channels, positions, stride_c, stride_d, BLOCK_D
        )
        slope = tl.load(g + place, mask=inside, other=0.0).to(tl.float32)
        centred = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - m
        total += slope
        dots += tl.where(inside, slope * centred, 0.0)  # a mean may not be finite
        sign, ties = _signs(centred, inside, bottom, ties, SOME)
        signs += sign
    to, size = sums + at, groups * part_count * channels
    tl.store(to, tl.sum(total, 1, keep_dims=True), mask=inside_c)
    tl.store(to + size, tl.sum(dots, 1, keep_dims=True), mask=inside_c)
    tl.store(to + 2 * size, tl.sum(signs, 1, keep_dims=True), mask=inside_c)


@jit
def deviation_slopes_kernel(
    sums: tl.tensor,
    numbers: tl.tensor,
    slopes: tl.tensor,
    of_affine: tl.tensor,
    groups: tl.tensor,
    part_count: tl.tensor,
    channels: tl.tensor,
    length: tl.tensor,
    k: tl.tensor,
    constant: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Write slope and rest, (2, G, C), and each group's gradients of weight and bias, (2, G, C)."""
    group, _, c = part_of(tl.program_id(0), 1, channels, BLOCK)
    inside, size = c < channels, groups * channels
    of_parts = size * part_count
    s0 = total_of(sums, group, c, part_count, channels)
    s1 = total_of(sums + of_parts, group, c, part_count, channels)
    signs = total_of(sums + 2 * of_parts, group, c, part_count, channels)
    at = group * channels + c
    scale = tl.load(numbers + size + at, mask=inside, other=0.0)
    factor = tl.load(numbers + 3 * size + at, mask=inside, other=0.0)
    slope = -constant * factor * scale * s1 / k
    tl.store(slopes + at, slope, mask=inside)
    tl.store(slopes + size + at, -(scale * s0 + slope * signs) / length, mask=inside)
    tl.store(of_affine + at, s1 * factor, mask=inside)
    tl.store(of_affine + size + at, s0, mask=inside)


@jit
def deviated_gradient_kernel(
    x: tl.tensor,
    g: tl.tensor,
    y: tl.tensor,
    numbers: tl.tensor,
    slopes: tl.tensor,
    least: tl.tensor,
    allowed: tl.tensor,
    groups: tl.tensor,
    part_count: tl.tensor,
    tiles: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    stride_c: tl.tensor,
    stride_d: tl.tensor,
    SOME: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    """Write the gradient of a part's values to *y*."""
    group, part, c = part_of(tl.program_id(0), part_count, channels, BLOCK_C)
    inside_c, size = c < channels, groups * channels
    at = group * channels + c
    m = tl.load(numbers + at, mask=inside_c, other=0.0)
    scale = tl.load(numbers + size + at, mask=inside_c, other=0.0)
    by_sign = tl.load(slopes + at, mask=inside_c, other=0.0)
    rest = tl.load(slopes + size + at, mask=inside_c, other=0.0)
    of_part = (group * part_count + part) * channels + c
    bottom, ties = _limits(least, allowed, at, of_part, inside_c, SOME)
    for tile in range(part * tiles, tiles_end(part, tiles, samples, positions, BLOCK_D)):
        place, inside = tile_of(
            tile, group, c, samples, channels, positions, stride_c, stride_d, BLOCK_D
        )
        slope = tl.load(g + place, mask=inside, other=0.0).to(tl.float32)
        centred = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - m
        sign, ties = _signs(centred, inside, bottom, ties, SOME)
        found = scale * slope + (by_sign * sign + rest)
        tl.store(y + place, found.to(y.dtype.element_ty), mask=inside)


@jit
def _limits(
    least: tl.tensor,
    allowed: tl.tensor,
    at: tl.tensor,
    of_part: tl.tensor,
    inside: tl.tensor,
    SOME: tl.constexpr,
) -> tl.tensor:
    """Return the least deviation in A as bits, and how many of a part that equal it are in A."""
    bottom, ties = tl.zeros_like(at).to(tl.int32) - 1, tl.zeros_like(at).to(tl.int32)
    if SOME:
        bottom = tl.load(least + at, mask=inside, other=0)
        ties = tl.load(allowed + of_part, mask=inside, other=0)
    return bottom, ties


@jit
def _signs(
    centred: tl.tensor,
    inside: tl.tensor,
    bottom: tl.tensor,
    ties: tl.tensor,
    SOME: tl.constexpr,
) -> tl.tensor:
    """Return the signs of the deviations in A, and how many ties later tiles may still take."""
    bits = bits_of(centred)
    chosen = inside & (bits > bottom)
    if SOME:
        equal = (inside & (bits == bottom)).to(tl.int32)
        chosen = chosen | ((equal > 0) & (tl.cumsum(equal, 1) <= ties))
        ties -= tl.sum(equal, 1, keep_dims=True)
    sign = tl.where(centred > 0, 1.0, 0.0) - tl.where(centred < 0, 1.0, 0.0)
    return tl.where(chosen, sign, 0.0), ties
