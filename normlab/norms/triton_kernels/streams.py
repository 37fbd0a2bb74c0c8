"""The state of streaming normalization, in one launch each; the definition is in `streaming`.

Each kernel is one program, because one number that is not finite keeps all others from the state.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import triton
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.compiling import jit, launch

_LEAST, _MOST = 16, 1024  # channels of a tile


class Terms(NamedTuple):
    """A short and a long term of two numbers for each channel."""

    short: Tensor  # (2, C), changes
    long: Tensor  # (C,)
    long_2: Tensor  # (C,)
    batches: Tensor  # their number in the short term, changes
    closed: Tensor  # the number of short terms in the long term


def stream(
    terms: Terms,
    now: Tensor,
    share: float,
    checked: Optional[Tensor] = None,
    skipped: Optional[Tensor] = None,
) -> Tensor:
    """
    Take *now*, (2, C) or more rows, into the short term; return the sum of both terms, (2, C).

    Args:
        share: of the short term, if there is a long term.
        checked: further numbers, (2, C), that must be finite for *now* to be taken.
        skipped: counts what is not taken.
    """
    used = now.new_empty(2, terms.short.shape[1])
    c = used.shape[1]
    launch(
        stream_kernel, 1, now, *terms, now if checked is None else checked,
        terms.batches if skipped is None else skipped, used, share, c,
        checked is not None, skipped is not None, _block(c),
    )  # fmt: skip
    return used


def close(
    terms: Terms, short: Tensor, long: Tensor, count: Tensor, share: float, if_any: bool
) -> None:
    """
    Move the long terms towards the short ones, if there are some, and begin with new short ones.

    Args:
        terms: of the statistics; *closed* is counted up.
        short: of their gradients, (2, C), like *long*.
        count: of their gradients.
        share: of the short term in the new long term, except in the first one.
        if_any: whether to do so only if there are gradients.
    """
    c = short.shape[1]
    launch(close_kernel, 1, short, long, count, *terms, share, c, if_any, _block(c))


@jit
def stream_kernel(
    now: tl.tensor,
    short: tl.tensor,
    long: tl.tensor,
    long_2: tl.tensor,
    count: tl.tensor,
    closed: tl.tensor,
    checked: tl.tensor,
    skipped: tl.tensor,
    used: tl.tensor,
    share: tl.tensor,
    channels: tl.tensor,
    CHECKED: tl.constexpr,
    COUNTED: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Compute everything, and keep it if all of it is finite."""
    c = tl.arange(0, BLOCK)
    seen = tl.load(count)
    of_short = tl.where(tl.load(closed) > 0, share, 1.0)
    wrong = tl.zeros([BLOCK], tl.int32)
    for start in range(0, channels, BLOCK):
        inside = start + c < channels
        for row in tl.static_range(2):
            place = row * channels + start + c
            recent = _recent(short, now, place, seen, inside)
            rest = tl.load((long if row == 0 else long_2) + start + c, mask=inside, other=0.0)
            wrong += tl.where(tl.abs(recent) < float("inf"), 0, 1)
            if CHECKED:
                other = tl.load(checked + place, mask=inside, other=0.0)
                wrong += tl.where(tl.abs(other) < float("inf"), 0, 1)
            tl.store(used + place, of_short * recent + (1 - of_short) * rest, mask=inside)
    wrongs = tl.sum(wrong, 0)
    for start in range(0, channels, BLOCK):
        inside = start + c < channels
        for row in tl.static_range(2):
            place = row * channels + start + c
            recent = _recent(short, now, place, seen, inside)
            tl.store(short + place, recent, mask=inside & (wrong * 0 + wrongs == 0))
    tl.store(count, seen + tl.where(wrongs == 0, 1, 0))
    if COUNTED:
        tl.store(skipped, tl.load(skipped) + tl.where(wrongs == 0, 0.0, 1.0))


@jit
def close_kernel(
    short: tl.tensor,
    long: tl.tensor,
    count: tl.tensor,
    first_short: tl.tensor,
    first_long: tl.tensor,
    first_long_2: tl.tensor,
    first_count: tl.tensor,
    closed: tl.tensor,
    share: tl.tensor,
    channels: tl.tensor,
    IF_ANY: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Close both short terms, of gradients (the first arguments) and of statistics."""
    c = tl.arange(0, BLOCK)
    batches, terms = tl.load(first_count), tl.load(closed)
    changed = c >= 0
    if IF_ANY:
        changed = c * 0 + tl.load(count) > 0
    closing = changed & (c * 0 + batches > 0)
    step = tl.where(terms > 0, share, 1.0)
    for start in range(0, channels, BLOCK):
        inside = start + c < channels
        for row in tl.static_range(2):
            place = row * channels + start + c
            _move((first_long if row == 0 else first_long_2) + start + c, first_short + place, step,
                  inside & closing)  # fmt: skip
            _move(long + place, short + place, step, inside & closing)
            tl.store(first_short + place, 0.0, mask=inside & changed)
            tl.store(short + place, 0.0, mask=inside & changed)
    one = tl.sum(tl.where(closing & (c == 0), 1, 0), 0)
    kept = tl.sum(tl.where(changed & (c == 0), 0, 1) * tl.where(c == 0, 1, 0), 0)
    tl.store(closed, terms + one)
    tl.store(first_count, batches * kept)
    tl.store(count, tl.load(count) * kept)


@jit
def _recent(
    short: tl.tensor, now: tl.tensor, place: tl.tensor, seen: tl.tensor, inside: tl.tensor
) -> tl.tensor:
    """Return the short term with the new number."""
    old = tl.load(short + place, mask=inside, other=0.0)
    new = tl.load(now + place, mask=inside, other=0.0)
    return (old * seen.to(tl.float32) + new) / (seen.to(tl.float32) + 1)


@jit
def _move(long: tl.tensor, short: tl.tensor, step: tl.tensor, where: tl.tensor) -> None:
    old = tl.load(long, mask=where, other=0.0)
    new = tl.load(short, mask=where, other=0.0)
    tl.store(long, old * (1 - step) + new * step, mask=where)


def _block(c: int) -> int:
    size: int = triton.next_power_of_2(c)
    return min(_MOST, max(_LEAST, size))
