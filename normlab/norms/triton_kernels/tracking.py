"""Running statistics in one launch: whether the new ones are finite, and the step towards them."""

from __future__ import annotations

from typing import Optional, Tuple

import triton
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.compiling import jit, launch

_LEAST, _MOST = 16, 1024  # channels of a tile


def track(
    new: Tuple[Tensor, Tensor],
    running: Tuple[Tensor, Tensor],
    count: Tensor,
    skipped: Tensor,
    momentum: Optional[float],
    unused: Optional[Tuple[Tensor, Tensor, Tensor, Tensor]] = None,
) -> None:
    """
    Move *running* towards the means of *new* over their rows, and count, all in place.

    Args:
        new: two statistics, (R, C) with adjacent channels.
        running: two buffers, (C,).
        count: the number of batches in the running statistics.
        skipped: the number of statistics that were not finite, which change nothing else.
        momentum: the weight of the new value; None averages all.
        unused: two flags and two ratios, () each. If both flags are set and both ratios are 0,
            nothing changes.
    """
    (first, second), c = new, running[0].shape[0]
    flags = (count, count, skipped, skipped) if unused is None else unused
    block = min(_MOST, max(_LEAST, triton.next_power_of_2(c)))
    launch(
        track_kernel, 1, first, second, *running, count, skipped, *flags, first.shape[0], c,
        first.stride(0), second.stride(0), 0.0 if momentum is None else momentum,
        momentum is None, unused is not None, block,
    )  # fmt: skip


@jit
def track_kernel(
    first: tl.tensor,
    second: tl.tensor,
    running: tl.tensor,
    running_2: tl.tensor,
    count: tl.tensor,
    skipped: tl.tensor,
    flag: tl.tensor,
    flag_2: tl.tensor,
    ratio: tl.tensor,
    ratio_2: tl.tensor,
    rows: tl.tensor,
    channels: tl.tensor,
    first_n: tl.tensor,
    second_n: tl.tensor,
    momentum: tl.tensor,
    AVERAGED: tl.constexpr,
    CHOSEN: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Look at all channels, then move all."""
    c = tl.arange(0, BLOCK)
    wrong = tl.zeros([BLOCK], tl.int32)
    for start in range(0, channels, BLOCK):
        inside = start + c < channels
        a = _mean(first + start + c, rows, first_n, inside)
        b = _mean(second + start + c, rows, second_n, inside)
        fine = (tl.abs(a) < float("inf")) & (tl.abs(b) < float("inf"))
        wrong += tl.where(fine, 0, 1)
    wrongs = tl.sum(wrong, 0)
    finite, used = wrongs == 0, wrongs >= 0
    if CHOSEN:
        fixed = (tl.load(flag).to(tl.int32) > 0) & (tl.load(flag_2).to(tl.int32) > 0)
        shares = tl.abs(tl.load(ratio)) + tl.abs(tl.load(ratio_2))
        used = used & ((shares != 0) | (fixed == 0))
    moves = finite & used
    batches = tl.load(count) + moves.to(tl.int64)
    step = momentum
    if AVERAGED:
        step = 1.0 / tl.maximum(batches.to(tl.float32), 1.0)
    for start in range(0, channels, BLOCK):
        inside = start + c < channels
        a = _mean(first + start + c, rows, first_n, inside)
        b = _mean(second + start + c, rows, second_n, inside)
        old = tl.load(running + start + c, mask=inside, other=0.0)
        old_2 = tl.load(running_2 + start + c, mask=inside, other=0.0)
        tl.store(running + start + c, old * (1 - step) + a * step, mask=inside & moves)
        tl.store(running_2 + start + c, old_2 * (1 - step) + b * step, mask=inside & moves)
    tl.store(count, batches)
    tl.store(skipped, tl.load(skipped) + (used & (finite == 0)).to(tl.float32))


@jit
def _mean(values: tl.tensor, rows: tl.tensor, stride: tl.tensor, inside: tl.tensor) -> tl.tensor:
    total = tl.load(values, mask=inside, other=0.0)
    for row in range(1, rows):
        total += tl.load(values + row * stride, mask=inside, other=0.0)
    return total / rows
