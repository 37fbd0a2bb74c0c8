"""The backward pass of the solve step: gradients of moments, parameters and ratios."""

from __future__ import annotations

import triton.language as tl

from normlab.norms.triton_kernels.compiling import jit
from normlab.norms.triton_kernels.pooling import bessel, samples_of, slopes_at
from normlab.norms.triton_kernels.solving import cell_of


@jit
def channel_sums_kernel(
    mean: tl.tensor,
    var: tl.tensor,
    solved: tl.tensor,
    s0: tl.tensor,
    s1: tl.tensor,
    learned: tl.tensor,
    found: tl.tensor,
    factor: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    learned_step: tl.tensor,
    LEARNED: tl.constexpr,
    CHANNELS: tl.constexpr,
    SAMPLES: tl.constexpr,
) -> None:
    """Sum over the samples: dw, db, d learned, and dM * mean and dV * var for the ratios."""
    c = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)[:, None]
    along = tl.arange(0, SAMPLES)[None, :]
    size = samples * channels
    of_weight = tl.zeros([CHANNELS, SAMPLES], tl.float32)
    of_bias = tl.zeros([CHANNELS, SAMPLES], tl.float32)
    of_v = tl.zeros([CHANNELS, SAMPLES], tl.float32)
    of_p = tl.zeros([CHANNELS, SAMPLES], tl.float32)
    of_q = tl.zeros([CHANNELS, SAMPLES], tl.float32)
    for start in range(0, samples, SAMPLES):
        inside = (c < channels) & (start + along < samples)
        place = (start + along) * channels + c
        of_shift = tl.load(s0 + place, mask=inside, other=0.0)
        offset = tl.load(solved + 2 * size + place, mask=inside, other=0.0)
        of_scale = tl.load(s1 + place, mask=inside, other=0.0) + of_shift * offset
        unit = tl.load(solved + 3 * size + place, mask=inside, other=0.0)
        added = tl.load(solved + 5 * size + place, mask=inside, other=0.0)
        dm, dv = slopes_at(place, inside, size, solved, s0, s1)
        of_weight += unit * of_scale + added * of_shift
        of_bias += of_shift
        of_v += dv
        of_p += dm * tl.load(mean + place, mask=inside, other=0.0)
        of_q += dv * (tl.load(var + place, mask=inside, other=0.0) * factor)
    inside = c < channels
    dv = tl.sum(of_v, 1, keep_dims=True)
    if LEARNED:
        e = tl.load(learned + c * learned_step, mask=inside, other=0.0)
        dv = tl.where(e < 0, -dv, tl.where(e == 0, 0.0, dv))  # NaN stays NaN
    tl.store(found + c, tl.sum(of_weight, 1, keep_dims=True), mask=inside)
    tl.store(found + channels + c, tl.sum(of_bias, 1, keep_dims=True), mask=inside)
    tl.store(found + 2 * channels + c, dv, mask=inside)
    tl.store(found + 3 * channels + c, tl.sum(of_p, 1, keep_dims=True), mask=inside)
    tl.store(found + 4 * channels + c, tl.sum(of_q, 1, keep_dims=True), mask=inside)


@jit
def moment_slopes_kernel(
    mean: tl.tensor,
    solved: tl.tensor,
    s0: tl.tensor,
    s1: tl.tensor,
    first: tl.tensor,
    second: tl.tensor,
    first_sums: tl.tensor,
    second_sums: tl.tensor,
    ratios: tl.tensor,
    slopes: tl.tensor,
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
    OWN: tl.constexpr,
    POOLS: tl.constexpr,
    ABOUT_ZERO: tl.constexpr,
    UNBIASED: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """
    Write the gradients of BLOCK means, without that through the map's shift, and variances.

    *seen* and UNBIASED are those of `pools_kernel`.
    """
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    size = samples * channels
    inside = place < size
    n, c = place // channels, place % channels
    own = tl.load(mean + place, mask=inside, other=0.0)
    of_mean, of_var = tl.zeros_like(own), tl.zeros_like(own)
    if OWN:
        dm, dv = slopes_at(place, inside, size, solved, s0, s1)
        if POOLS > 0:
            dm, dv = dm * tl.load(ratios), dv * tl.load(ratios + 1 + POOLS)
        of_var += dv
        if ABOUT_ZERO:
            dm = 2 * dv * own
        of_mean += dm
    if POOLS > 0:
        cell = cell_of(n, c, channels, first_s, first_k, first_g)
        cells = tl.cdiv(samples, first_s) * (channels // first_k)
        shared = samples_of(n // first_s, samples, first_s) * seen
        counts = inside & ((c % first_k < seen) | (first_g > 0))
        dm, dv, m = _of_pool(
            first, first_sums, cell, cells, shared, positions, counts, UNBIASED
        )  # fmt: skip
        if OWN + POOLS > 1:
            dm *= tl.load(ratios + OWN)
            dv *= tl.load(ratios + OWN + POOLS + OWN)
        of_var += dv
        if ABOUT_ZERO:
            of_mean += 2 * dv * own
        else:
            of_mean += dm + 2 * dv * (own - m)
    if POOLS > 1:
        cell = cell_of(n, c, channels, second_s, second_k, second_g)
        cells = tl.cdiv(samples, second_s) * (channels // second_k)
        shared = samples_of(n // second_s, samples, second_s) * second_k
        dm, dv, m = _of_pool(
            second, second_sums, cell, cells, shared, positions, inside, UNBIASED
        )  # fmt: skip
        dm *= tl.load(ratios + OWN + 1)
        dv *= tl.load(ratios + OWN + POOLS + OWN + 1)
        of_var += dv
        of_mean += dm + 2 * dv * (own - m)
    tl.store(slopes + place, of_mean, mask=inside)
    tl.store(slopes + size + place, of_var * factor, mask=inside)


@jit
def _of_pool(
    pool: tl.tensor,
    sums: tl.tensor,
    cell: tl.tensor,
    cells: tl.tensor,
    shared: tl.tensor,
    positions: tl.tensor,
    inside: tl.tensor,
    UNBIASED: tl.constexpr,
) -> tl.tensor:
    """Return the gradients of M and V for each of the *shared* values of a cell, and M."""
    dm = tl.load(sums + cell, mask=inside, other=0.0) / shared
    dv = tl.load(sums + cells + cell, mask=inside, other=0.0) / shared
    if UNBIASED:
        dv *= bessel(shared.to(tl.float32) * positions)
    return dm, dv, tl.load(pool + cell, mask=inside, other=0.0)
