"""The solve step: from pooled moments to scale and shift of each channel of each sample.

The output has six rows of (N, C) numbers: scale and shift, and what the backward pass needs.
"""

from __future__ import annotations

import triton.language as tl

from normlab.norms.triton_kernels.compiling import jit

BLOCK = 256
"""The numbers that a program handles."""


@jit
def solve_kernel(
    mean: tl.tensor,
    var: tl.tensor,
    first: tl.tensor,
    second: tl.tensor,
    ratios: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    past: tl.tensor,
    learned: tl.tensor,
    solved: tl.tensor,
    eps: tl.tensor,
    factor: tl.tensor,
    r_least: tl.tensor,
    r_limit: tl.tensor,
    d_limit: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    learned_step: tl.tensor,
    first_s: tl.tensor,
    first_k: tl.tensor,
    first_g: tl.tensor,
    second_s: tl.tensor,
    second_k: tl.tensor,
    second_g: tl.tensor,
    OWN: tl.constexpr,
    POOLS: tl.constexpr,
    ABOUT_ZERO: tl.constexpr,
    MODE: tl.constexpr,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
    LEARNED: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """
    Solve BLOCK numbers.

    V and M are mixed of the own moments and up to two pools by *ratios*, if there is more than one
    of them. MODE 1 and 2 correct them by *past*, as `BatchRenorm` does; with 2, eps is outside of
    the root.
    """
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = samples * channels
    inside = places < total
    n, c = places // channels, places % channels
    own = tl.load(mean + places, mask=inside, other=0.0)
    m, v = own, tl.load(var + places, mask=inside, other=0.0) * factor
    if ABOUT_ZERO:
        v += own * own
    if OWN and POOLS > 0:
        m, v = m * tl.load(ratios), v * tl.load(ratios + 1 + POOLS)
    if POOLS > 0:
        cell = cell_of(n, c, channels, first_s, first_k, first_g)
        cells = tl.cdiv(samples, first_s) * (channels // first_k)
        a = tl.load(first + cell, mask=inside, other=0.0)
        b = tl.load(first + cells + cell, mask=inside, other=0.0)
        if OWN:
            m += a * tl.load(ratios + 1)
            v += b * tl.load(ratios + 2 + POOLS)
        elif POOLS > 1:
            m, v = a * tl.load(ratios), b * tl.load(ratios + POOLS)
        else:
            m, v = a, b
    if POOLS > 1:
        cell = cell_of(n, c, channels, second_s, second_k, second_g)
        cells = tl.cdiv(samples, second_s) * (channels // second_k)
        m += tl.load(second + cell, mask=inside, other=0.0) * tl.load(ratios + OWN + 1)
        b = tl.load(second + cells + cell, mask=inside, other=0.0)
        v += b * tl.load(ratios + OWN + POOLS + OWN + 1)
    offset = own
    if not ABOUT_ZERO:
        offset = own - m
    added = tl.zeros_like(own)
    if MODE == 0:
        if LEARNED:
            v += tl.abs(tl.load(learned + c * learned_step, mask=inside, other=0.0))
        unit = tl.rsqrt(v + eps)
        turn = -0.5 * unit * unit * unit
    else:
        mu = tl.load(past + c, mask=inside, other=0.0)
        sigma = tl.load(past + channels + c, mask=inside, other=1.0)
        if MODE == 1:
            root = tl.sqrt(v + eps)
            slope = 0.5 / root
        else:
            root = tl.sqrt(tl.where(v < 1e-30, 1e-30, v))
            slope = tl.where(v < 1e-30, 0.0, 0.5 / root)
            root += eps
        unit = _bounded(root / sigma, r_least, r_limit) / root
        added = _bounded((m - mu) / sigma, -d_limit, d_limit)
        turn = -unit / root * slope
    scale, rest = unit, added
    if WEIGHT:
        w = tl.load(weight + c, mask=inside, other=0.0)
        scale, rest, turn = unit * w, added * w, turn * w
    if BIAS:
        rest += tl.load(bias + c, mask=inside, other=0.0)
    tl.store(solved + places, scale, mask=inside)
    tl.store(solved + total + places, scale * offset + rest, mask=inside)
    tl.store(solved + 2 * total + places, offset, mask=inside)
    tl.store(solved + 3 * total + places, unit, mask=inside)
    tl.store(solved + 4 * total + places, turn, mask=inside)
    tl.store(solved + 5 * total + places, added, mask=inside)


@jit
def cell_of(
    n: tl.tensor,
    c: tl.tensor,
    channels: tl.tensor,
    samples_shared: tl.tensor,
    channels_shared: tl.tensor,
    groups: tl.tensor,
) -> tl.tensor:
    """Return the number of the statistic that channels *c* of samples *n* share in a pool."""
    strided = c % tl.maximum(groups, 1)
    within = tl.where(groups > 0, strided, c // channels_shared)
    return (n // samples_shared) * (channels // channels_shared) + within


@jit
def _bounded(value: tl.tensor, low: tl.tensor, high: tl.tensor) -> tl.tensor:
    """Clamp *value*; NaN stays NaN."""
    value = tl.where(value < low, low, value)
    return tl.where(value > high, high, value)
