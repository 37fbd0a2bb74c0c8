"""The k largest deviations of each statistic, without sorting and without a limit for k.

A deviation that is not negative is ordered like its 31 bits as a whole number. Four rounds find the
k-th largest one, eight bits each: every part counts its deviations by their next bits, among those
whose higher bits are known to be right, and the next round adds up these counts and chooses. If a
group has only one part, one launch has all rounds. Of deviations that equal the k-th, the first
ones are chosen, as in the compiled loops for CPUs.
"""

from __future__ import annotations

import triton.language as tl

from normlab.norms.triton_kernels.compiling import jit
from normlab.norms.triton_kernels.deviating import write_numbers
from normlab.norms.triton_kernels.group_parts import bits_of, part_of, tile_of, tiles_end, total_of


@jit
def choose_kernel(
    x: tl.tensor,
    sums: tl.tensor,
    found: tl.tensor,
    before: tl.tensor,
    counts: tl.tensor,
    state_before: tl.tensor,
    state: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    numbers: tl.tensor,
    least: tl.tensor,
    allowed: tl.tensor,
    groups: tl.tensor,
    k: tl.tensor,
    constant: tl.tensor,
    eps: tl.tensor,
    part_count: tl.tensor,
    tiles: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    stride_c: tl.tensor,
    stride_d: tl.tensor,
    RECIPROCAL: tl.constexpr,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
    FIRST: tl.constexpr,
    LAST: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    """
    Run the rounds from FIRST to LAST for a part; if these are all, finish as `chosen_kernel` does.

    *counts* are (G, P, C, 256), and *state* is (2, G, C): the higher bits of a round, and how many
    deviations with these bits are chosen. Those of the round *before* are read. *found* is the sum
    of the deviations that the last round knows to be larger, for each part.
    """
    group, part, c = part_of(tl.program_id(0), part_count, channels, BLOCK_C)
    m = total_of(sums, group, c, part_count, channels) / (samples * positions)
    size = groups * channels
    high = tl.zeros([BLOCK_C, 1], tl.int32)
    left = tl.zeros([BLOCK_C, 1], tl.int32) + k
    histogram = tl.zeros([BLOCK_C, 256], tl.int32)
    if FIRST > 0:
        histogram, high, left = _before(before, state_before, group, c, size, part_count, channels)
        high, left = _chosen(histogram, high, left)
    begin, end = part * tiles, tiles_end(part, tiles, samples, positions, BLOCK_D)
    larger = tl.zeros([BLOCK_C, BLOCK_D], tl.float32)
    for i in tl.static_range(FIRST, LAST + 1):
        if i > FIRST:
            high, left = _chosen(histogram, high, left)
        histogram = tl.zeros([BLOCK_C, 256], tl.int32)
        for tile in range(begin, end):
            place, inside = tile_of(
                tile, group, c, samples, channels, positions, stride_c, stride_d, BLOCK_D
            )
            bits = bits_of(tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - m)
            digits = bits >> (24 - 8 * i)
            histogram += _counted(digits & 255, inside & ((digits >> 8) == high), BLOCK_C, BLOCK_D)
            if i == 3:
                values = bits.to(tl.float32, bitcast=True)
                larger += tl.where(inside & ((digits >> 8) > high), values, 0.0)
    at = (group * part_count + part) * channels + c
    total = tl.sum(larger, 1, keep_dims=True)
    if LAST - FIRST == 3:
        total, bottom, left = _finished(histogram, high, left, total)
        tl.store(allowed + at, left, mask=c < channels)
        tl.store(least + at, bottom, mask=c < channels)
        write_numbers(
            m, total / k, group, c, weight, bias, numbers, groups, channels, constant, eps,
            RECIPROCAL, WEIGHT, BIAS,
        )  # fmt: skip
    else:
        bins = tl.arange(0, 256)[None, :]
        tl.store(counts + at * 256 + bins, histogram, mask=c < channels)
        kept = state + group * channels + c
        tl.store(kept, high, mask=(c < channels) & (part == 0))
        tl.store(kept + size, left, mask=(c < channels) & (part == 0))
        if LAST == 3:
            tl.store(found + at, total, mask=c < channels)


@jit
def chosen_kernel(
    sums: tl.tensor,
    found: tl.tensor,
    before: tl.tensor,
    state_before: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    numbers: tl.tensor,
    least: tl.tensor,
    allowed: tl.tensor,
    groups: tl.tensor,
    part_count: tl.tensor,
    channels: tl.tensor,
    length: tl.tensor,
    k: tl.tensor,
    constant: tl.tensor,
    eps: tl.tensor,
    RECIPROCAL: tl.constexpr,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Finish some channels of a group; write the k-th deviation, and each part's share of ties."""
    group, _, c = part_of(tl.program_id(0), 1, channels, BLOCK)
    inside = c < channels
    m = total_of(sums, group, c, part_count, channels) / length
    larger = total_of(found, group, c, part_count, channels)
    size = groups * channels
    histogram, high, left = _before(before, state_before, group, c, size, part_count, channels)
    total, bottom, left = _finished(histogram, high, left, larger)
    at = group * part_count * channels + c
    for part in range(part_count):
        place = at + part * channels
        equal = tl.load(before + place * 256 + (bottom & 255), mask=inside, other=0)
        taken = tl.minimum(equal, left)
        tl.store(allowed + place, taken, mask=inside)
        left -= taken
    tl.store(least + group * channels + c, bottom, mask=inside)
    write_numbers(
        m, total / k, group, c, weight, bias, numbers, groups, channels, constant, eps,
        RECIPROCAL, WEIGHT, BIAS,
    )  # fmt: skip


@jit
def _before(
    counts: tl.tensor,
    state: tl.tensor,
    group: tl.tensor,
    c: tl.tensor,
    size: tl.tensor,
    part_count: tl.tensor,
    channels: tl.tensor,
) -> tl.tensor:
    """Return the counts of a round over all parts of a group, and the state before it."""
    at = counts + (group * part_count * channels + c) * 256 + tl.arange(0, 256)[None, :]
    total = tl.load(at, mask=c < channels, other=0)
    for part in range(1, part_count):
        total += tl.load(at + part * channels * 256, mask=c < channels, other=0)
    kept = state + group * channels + c
    high = tl.load(kept, mask=c < channels, other=0)
    return total, high, tl.load(kept + size, mask=c < channels, other=0)


@jit
def _counted(
    digits: tl.tensor, where: tl.tensor, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr
) -> tl.tensor:
    """Count *digits* of each channel, (BLOCK_C, BLOCK_D) -> (BLOCK_C, 256)."""
    row, bins = tl.arange(0, BLOCK_C)[:, None], tl.arange(0, 256)[None, :]
    places = tl.where(where, row * 256 + digits, 0)
    flat = tl.reshape(places, [BLOCK_C * BLOCK_D])
    found = tl.reshape(tl.histogram(flat, BLOCK_C * 256), [BLOCK_C, 256])
    others = BLOCK_C * BLOCK_D - tl.sum(tl.sum(where.to(tl.int32), 1), 0)  # counted as the first
    return found - tl.where((row == 0) & (bins == 0), others, 0)


@jit
def _chosen(histogram: tl.tensor, high: tl.tensor, left: tl.tensor) -> tl.tensor:
    """Return the bits with the next eight, and how many deviations with all of them are chosen."""
    sums = tl.cumsum(histogram, 1)
    reach = tl.sum(histogram, 1, keep_dims=True) - sums + histogram  # of these digits and above
    digit = tl.sum((reach >= left).to(tl.int32), 1, keep_dims=True) - 1
    digit = tl.maximum(digit, 0)  # outside the channels
    above = tl.where(tl.arange(0, 256)[None, :] > digit, histogram, 0)
    return high * 256 + digit, left - tl.sum(above, 1, keep_dims=True)


@jit
def _finished(
    histogram: tl.tensor, high: tl.tensor, left: tl.tensor, larger: tl.tensor
) -> tl.tensor:
    """Return the sum of the chosen, the bits of the least one, and how many that equal it are."""
    bottom, equal = _chosen(histogram, high, left)
    bits = high * 256 + tl.arange(0, 256)[None, :]
    # 0 times infinity is NaN
    above = tl.where((bits > bottom) & (histogram > 0), bits, 0).to(tl.float32, bitcast=True)
    ties = tl.where(equal > 0, bottom, 0).to(tl.float32, bitcast=True) * equal.to(tl.float32)
    sums = tl.sum(above * histogram.to(tl.float32), 1, keep_dims=True)
    return larger + sums + ties, bottom, equal
