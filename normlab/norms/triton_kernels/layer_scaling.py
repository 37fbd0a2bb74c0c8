"""Layer scaling of Online Normalization: one number for each group of channels of a sample.

From the moments of y = (x - mu) / s, those of z = weight * y + bias follow, so no data are read. A
program takes one group of channels of one sample.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple

import triton
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.compiling import jit, launch
from normlab.norms.triton_kernels.running_scan import (
    Scanned,
    channel_numbers,
    moments_at,
    or_first,
)

_LEAST, _MOST = 16, 1024  # channels of a tile


def scale_layers(f: Scanned, weight: Optional[Tensor], bias: Optional[Tensor], o: Any) -> Scanned:
    """
    Write scale and shift of *f*, and return it with the factor 1 / sqrt(mean(z^2) + scaling_eps).

    Args:
        o: an `OnlineOptions` with a group size.
    """
    n, c = f.inv.shape
    factor = f.inv.new_empty(n, c // o.group_size)
    launch(
        layer_scaling_kernel, factor.numel(), f.mean, *or_first(f.mean, f.var, weight, bias),
        f.before, f.inv, factor, f.scale, f.shift, c, o.group_size, o.scaling_eps,
        f.var is not None, weight is not None, bias is not None, _block(o.group_size),
    )  # fmt: skip
    return f._replace(factor=factor)


def scaling_slopes(
    f: Scanned,
    sums: Tuple[Tensor, Tensor],
    weight: Optional[Tensor],
    bias: Optional[Tensor],
    o: Any,
    positions: int,
) -> Tensor:
    """
    Return factor^3 * mean(g z) for each group: the gradient of z is factor * g - this * z.

    Args:
        sums: of g and g * (x - mu) over positions, (N, C).
        o: an `OnlineOptions` with a group size.
    """
    assert f.factor is not None
    shrink = f.inv.new_empty(f.factor.shape)
    launch(
        scaling_slopes_kernel, shrink.numel(), f.inv, *sums, *or_first(f.inv, weight, bias),
        f.factor, shrink, f.inv.shape[1], positions, o.group_size,
        weight is not None, bias is not None, _block(o.group_size),
    )  # fmt: skip
    return shrink


@jit
def layer_scaling_kernel(
    mean: tl.tensor,
    var: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    before: tl.tensor,
    inv: tl.tensor,
    factors: tl.tensor,
    scale: tl.tensor,
    shift: tl.tensor,
    channels: tl.tensor,
    length: tl.tensor,
    eps: tl.tensor,
    SPREAD: tl.constexpr,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Add up mean(z^2) of *length* channels, then scale them."""
    row, first = _group(channels, length)
    i = tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, length, BLOCK):
        inside = start + i < length
        c = first + start + i
        now, spread = moments_at(mean, var, row + c, inside, SPREAD)
        root = tl.load(inv + row + c, mask=inside, other=0.0)
        w = channel_numbers(weight, c, inside, 1.0, WEIGHT)
        b = channel_numbers(bias, c, inside, 0.0, BIAS)
        middle = w * root * (now - tl.load(before + row + c, mask=inside, other=0.0)) + b
        total += middle * middle + w * w * root * root * spread
    k = tl.rsqrt(tl.sum(total, 0) / length + eps)
    tl.store(factors + tl.program_id(0), k)
    for start in range(0, length, BLOCK):
        inside = start + i < length
        c = first + start + i
        root = tl.load(inv + row + c, mask=inside, other=0.0)
        w = channel_numbers(weight, c, inside, 1.0, WEIGHT)
        b = channel_numbers(bias, c, inside, 0.0, BIAS)
        tl.store(scale + row + c, root * w * k, mask=inside)
        tl.store(shift + row + c, b * k, mask=inside)


@jit
def scaling_slopes_kernel(
    inv: tl.tensor,
    s0: tl.tensor,
    s1: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    factors: tl.tensor,
    shrink: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    length: tl.tensor,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Add up mean(g z) = weight * mean(g y) + bias * mean(g) of *length* channels."""
    row, first = _group(channels, length)
    i = tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, length, BLOCK):
        inside = start + i < length
        c = first + start + i
        root = tl.load(inv + row + c, mask=inside, other=0.0)
        p = tl.load(s0 + row + c, mask=inside, other=0.0)
        r = root * tl.load(s1 + row + c, mask=inside, other=0.0)
        w = channel_numbers(weight, c, inside, 1.0, WEIGHT)
        b = channel_numbers(bias, c, inside, 0.0, BIAS)
        total += w * r + b * p
    k = tl.load(factors + tl.program_id(0))
    along = tl.sum(total, 0) / positions / length
    tl.store(shrink + tl.program_id(0), along * k * k * k)


@jit
def _group(channels: tl.tensor, length: tl.tensor) -> tl.tensor:
    """Return where the sample of this program begins, and the first channel of its group."""
    groups = channels // length
    row = (tl.program_id(0) // groups).to(tl.int64) * channels
    return row, (tl.program_id(0) % groups) * length


def _block(size: int) -> int:
    found: int = triton.next_power_of_2(size)
    return min(_MOST, max(_LEAST, found))
