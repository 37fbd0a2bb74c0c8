"""Two states of each channel that take new values together, unless one of these is not finite."""

from __future__ import annotations

from typing import Optional, Tuple

import triton
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.compiling import jit, launch

_LEAST, _MOST = 16, 1024  # channels of a tile


def keep(
    states: Tuple[Tensor, Tensor],
    new: Tuple[Tensor, Tensor],
    skipped: Optional[Tensor] = None,
    members: int = 1,
) -> None:
    """
    Set *states* to *new* in place, for the members whose new values are all finite.

    Args:
        states: two buffers, (S * C,).
        skipped: counts the members whose states stay, () or (S,).
        members: S; a program takes the channels of one.
    """
    c = states[0].shape[0] // members
    block = min(_MOST, max(_LEAST, triton.next_power_of_2(c)))
    counted = states[0] if skipped is None else skipped
    launch(keep_kernel, members, *states, *new, counted, c, skipped is not None, block)


@jit
def keep_kernel(
    first: tl.tensor,
    second: tl.tensor,
    new_first: tl.tensor,
    new_second: tl.tensor,
    skipped: tl.tensor,
    channels: tl.tensor,
    COUNTED: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Look at all channels of a member, then set all."""
    begin = tl.program_id(0) * channels
    c = tl.arange(0, BLOCK)
    wrong = tl.zeros([BLOCK], tl.int32)
    for start in range(0, channels, BLOCK):
        inside = start + c < channels
        a = tl.load(new_first + begin + start + c, mask=inside, other=0.0)
        b = tl.load(new_second + begin + start + c, mask=inside, other=0.0)
        fine = (tl.abs(a) < float("inf")) & (tl.abs(b) < float("inf"))
        wrong += tl.where(fine, 0, 1)
    wrongs = tl.sum(wrong, 0)
    for start in range(0, channels, BLOCK):
        place = begin + start + c
        kept = (start + c < channels) & (wrong * 0 + wrongs == 0)
        tl.store(first + place, tl.load(new_first + place, mask=kept, other=0.0), mask=kept)
        tl.store(second + place, tl.load(new_second + place, mask=kept, other=0.0), mask=kept)
    if COUNTED:
        count = tl.load(skipped + tl.program_id(0))
        tl.store(skipped + tl.program_id(0), count + tl.where(wrongs == 0, 0.0, 1.0))
