"""Gradients of parameters whose parts several programs have found, in one launch."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.compiling import jit, launch

_LINE, _PARTS = 32, 32  # channels and parts of a tile


def total(parts: Tensor, shared: bool = False) -> Tensor:
    """
    Return the sum of *parts*, always added in the same order; one part needs no launch.

    Args:
        parts: (P, 3, C).
        shared: whether the last of the three is of a number that all channels share; its first
            place then holds the sum, and the others nothing.

    Shape:
        (P, 3, C) -> (3, C)
    """
    count, _, c = parts.shape
    if count == 1 and not shared:
        return parts[0]
    found, columns = parts.new_empty(3, c), (2 if shared else 3) * c
    launch(
        parts_kernel, triton.cdiv(columns, _LINE) + int(shared), parts, found, count, c, columns,
        _LINE, min(_PARTS, triton.next_power_of_2(count)),
    )  # fmt: skip
    return found


@jit
def parts_kernel(
    parts: tl.tensor,
    found: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    columns: tl.tensor,
    CHANNELS: tl.constexpr,
    PARTS: tl.constexpr,
) -> None:
    """Sum some of the *columns*, or in a last program everything in the rows' other columns."""
    program = tl.program_id(0)
    lanes = tl.arange(0, CHANNELS)[:, None]
    along = tl.arange(0, PARTS)[None, :]
    sums = tl.zeros([CHANNELS, PARTS], tl.float32)
    if program < tl.cdiv(columns, CHANNELS):
        c = program * CHANNELS + lanes
        for start in range(0, length, PARTS):
            inside = (c < columns) & (start + along < length)
            place = (start + along) * 3 * channels + c
            sums += tl.load(parts + place, mask=inside, other=0.0)
        tl.store(found + c, tl.sum(sums, 1, keep_dims=True), mask=c < columns)
    else:
        for start in range(0, length, PARTS):
            for first in range(0, channels, CHANNELS):
                inside = (first + lanes < channels) & (start + along < length)
                place = (start + along) * 3 * channels + columns + first + lanes
                sums += tl.load(parts + place, mask=inside, other=0.0)
        tl.store(found + columns, tl.sum(tl.sum(sums, 1), 0))
