"""The control process of Online Normalization in the backward pass; the definition is in `online`.

With E = 1 - b and the means p and r, over positions, of the gradient of z and of it times y:
    u' = u + (weight p - E v my) / s - E u,    v' = v + weight r - E my2 v
A program takes the channels of one cache line through all samples, as in `running_scan`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.compiling import jit, launch
from normlab.norms.triton_kernels.running_scan import (
    AHEAD,
    LINE,
    Scanned,
    channel_numbers,
    moments_at,
    or_first,
)


class Controlled(NamedTuple):
    """The gradients of the moments, as `combine` takes them, of the affine, and the new state."""

    of_var: Tensor  # (N, C), like that of the mean
    of_mean: Tensor
    u: Tensor  # (C,), like the following
    v: Tensor
    d_weight: Tensor
    d_bias: Tensor


def control(
    f: Scanned,
    sums: Tuple[Tensor, Tensor],
    weight: Optional[Tensor],
    bias: Optional[Tensor],
    o: Any,
    positions: int,
    state: Tuple[Tensor, Tensor],
    shrink: Optional[Tensor] = None,
) -> Controlled:
    """
    Control the gradients of all samples.

    Args:
        sums: of g and g * (x - mu) over positions, (N, C).
        o: an `OnlineOptions`.
        state: u and v before the batch, (C,).
        shrink: the result of `scaling_slopes`, with layer scaling.
    """
    n, c = f.inv.shape
    of_moments = torch.empty((2, n, c), dtype=torch.float32, device=f.inv.device).unbind()
    found = torch.empty((4, c), dtype=torch.float32, device=f.inv.device).unbind()
    launch(
        control_kernel, triton.cdiv(c, LINE), f.mean, *or_first(f.mean, f.var), f.before, f.inv,
        *sums, *or_first(f.mean, f.factor, shrink, *state, weight, bias), *of_moments, *found,
        n, c, positions, o.group_size or c, 1 - o.alpha_backward, f.var is not None,
        weight is not None, bias is not None, shrink is not None, LINE, num_warps=1,
    )  # fmt: skip
    return Controlled(*of_moments, *found)


@jit
def control_kernel(
    mean: tl.tensor,
    var: tl.tensor,
    before: tl.tensor,
    inv: tl.tensor,
    s0: tl.tensor,
    s1: tl.tensor,
    factors: tl.tensor,
    shrink: tl.tensor,
    start_u: tl.tensor,
    start_v: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    of_var: tl.tensor,
    of_mean: tl.tensor,
    end_u: tl.tensor,
    end_v: tl.tensor,
    of_weight: tl.tensor,
    of_bias: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    length: tl.tensor,
    gain: tl.tensor,
    SPREAD: tl.constexpr,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
    SCALED: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Control BLOCK channels; *gain* is E."""
    c = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    inside = c < channels
    u = tl.load(start_u + c, mask=inside, other=0.0)
    v = tl.load(start_v + c, mask=inside, other=0.0)
    w = channel_numbers(weight, c, inside, 1.0, WEIGHT)
    b = channel_numbers(bias, c, inside, 0.0, BIAS)
    sum_p = tl.zeros([BLOCK], tl.float32)
    sum_r = tl.zeros([BLOCK], tl.float32)
    place, group = c, c // length
    for _ in tl.range(0, samples, num_stages=AHEAD):
        now, spread = moments_at(mean, var, place, inside, SPREAD)
        root = tl.load(inv + place, mask=inside, other=0.0)
        off = now - tl.load(before + place, mask=inside, other=0.0)
        p = tl.load(s0 + place, mask=inside, other=0.0) / positions
        r = tl.load(s1 + place, mask=inside, other=0.0) * root / positions
        my, my2 = off * root, (spread + off * off) * root * root
        pull, rest = gain * v, gain * u
        if SCALED:
            k = tl.load(factors + group, mask=inside, other=0.0)
            h = tl.load(shrink + group, mask=inside, other=0.0)
            p = k * p - h * (w * my + b)
            r = k * r - h * (w * my2 + b * my)
            pull += w * w * h
            rest += w * b * h * root
        tl.store(of_var + place, -0.5 * pull * root * root * positions, mask=inside)
        tl.store(of_mean + place, -rest * positions, mask=inside)
        sum_p += p
        sum_r += r
        u += (w * p - gain * v * my) * root - gain * u
        v += w * r - gain * v * my2
        place += channels
        group += channels // length
    tl.store(end_u + c, u, mask=inside)
    tl.store(end_v + c, v, mask=inside)
    tl.store(of_weight + c, sum_r * positions, mask=inside)
    tl.store(of_bias + c, sum_p * positions, mask=inside)
