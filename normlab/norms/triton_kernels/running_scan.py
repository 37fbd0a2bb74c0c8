"""The statistics of Online Normalization before each sample; the definition is in `online`.

A program takes the channels of one cache line through all samples, with the state in registers.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.compiling import jit, launch

LINE = 32  # channels of a program, one for each thread of its warp
AHEAD = tl.constexpr(4)  # samples that are loaded before they are needed


class Scanned(NamedTuple):
    """The map scale * (x - before) + shift of each sample, and what backward needs; (N, C)."""

    mean: Tensor  # of the sample, like the variance; without positions, the data themselves
    var: Optional[Tensor]  # None without positions
    before: Tensor  # mu before the sample
    inv: Tensor  # 1 / sqrt(var + eps), with var before the sample
    scale: Tensor
    shift: Tensor
    factor: Optional[Tensor] = None  # of layer scaling, for each group of channels: (N, G)


def scan_statistics(
    mean: Tensor,
    var: Optional[Tensor],
    start: Tuple[Tensor, Tensor],
    weight: Optional[Tensor],
    bias: Optional[Tensor],
    o: Any,
) -> Tuple[Scanned, Tuple[Tensor, Tensor]]:
    """
    Return the maps of all samples, and mu and var after the last one.

    With layer scaling, scale and shift are left for `scale_layers` to write.

    Args:
        mean: of each channel of each sample, (N, C), in any precision, like the variance.
        start: mu and var before the batch, (C,).
        o: an `OnlineOptions`.
    """
    n, c = mean.shape[:2]
    found = torch.empty((4, n, c), dtype=torch.float32, device=mean.device).unbind()
    mu, v = torch.empty((2, c), dtype=torch.float32, device=mean.device).unbind()
    launch(
        scan_kernel, triton.cdiv(c, LINE), mean, *or_first(mean, var, *start, weight, bias),
        *found, mu, v, n, c, 1 - o.alpha_forward, o.alpha_forward, o.eps, var is not None,
        weight is not None, bias is not None, o.group_size is not None, LINE, num_warps=1,
    )  # fmt: skip
    return Scanned(mean, var, *found), (mu, v)


def or_first(first: Tensor, *tensors: Optional[Tensor]) -> Tuple[Tensor, ...]:
    """Return *tensors* with *first*, which is not read there, in the place of each None."""
    return tuple(first if t is None else t for t in tensors)


@jit
def scan_kernel(
    mean: tl.tensor,
    var: tl.tensor,
    start_mean: tl.tensor,
    start_var: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    before: tl.tensor,
    inv: tl.tensor,
    scale: tl.tensor,
    shift: tl.tensor,
    end_mean: tl.tensor,
    end_var: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    gain: tl.tensor,
    decay: tl.tensor,
    eps: tl.tensor,
    SPREAD: tl.constexpr,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
    SCALED: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Scan BLOCK channels. A gain of 1 - decay is exact for a decay near 1, unlike the decay."""
    c = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    inside = c < channels
    m = tl.load(start_mean + c, mask=inside, other=0.0)
    v = tl.load(start_var + c, mask=inside, other=0.0)
    w = channel_numbers(weight, c, inside, 1.0, WEIGHT)
    b = channel_numbers(bias, c, inside, 0.0, BIAS)
    place = c
    for _ in tl.range(0, samples, num_stages=AHEAD):
        now, spread = moments_at(mean, var, place, inside, SPREAD)
        root = tl.rsqrt(v + eps)
        tl.store(before + place, m, mask=inside)
        tl.store(inv + place, root, mask=inside)
        if not SCALED:
            tl.store(scale + place, w * root, mask=inside)
            tl.store(shift + place, b, mask=inside)
        off = now - m
        v += gain * (spread + decay * off * off - v)
        m += gain * off
        place += channels
    tl.store(end_mean + c, m, mask=inside)
    tl.store(end_var + c, v, mask=inside)


@jit
def channel_numbers(
    t: tl.tensor, c: tl.tensor, inside: tl.tensor, other: tl.constexpr, GIVEN: tl.constexpr
) -> tl.tensor:
    """Return the numbers of channels *c* in float32, or *other* for each if none are given."""
    numbers = tl.zeros(c.shape, tl.float32) + other
    if GIVEN:
        numbers = tl.load(t + c, mask=inside, other=0.0).to(tl.float32)
    return numbers


@jit
def moments_at(
    mean: tl.tensor,
    var: tl.tensor,
    place: tl.tensor,
    inside: tl.tensor,
    SPREAD: tl.constexpr,
) -> tl.tensor:
    """Return mean and variance over the positions of a sample; without positions, it has none."""
    now = tl.load(mean + place, mask=inside, other=0.0).to(tl.float32)
    spread = now * 0
    if SPREAD:
        spread = tl.load(var + place, mask=inside, other=0.0)
    return now, spread
