"""How many runs are worth a pack on a device whose packs measure their gain themselves."""

from __future__ import annotations

from typing import Mapping, Optional

from normlab.specs.jobs import JobSpec
from normlab.specs.pack_sizes import (
    MOST,
    WORTH,
    PackSize,
    is_left_alone,
    room_for,
)

Gains = Mapping[int, float]
"""Measured gains of packs of such jobs on the device, by the number of members."""

_UNMEASURED = 16  # members of the first pack, which measures


def members_by_measure(
    spec: JobSpec, asked: PackSize, memory_bytes: Optional[int], gains: Gains
) -> int:
    """
    Return how many such runs should be one pack at most; 1: each alone.

    `auto` takes what gained most, or twice as many where the largest pack did; where nothing was
    measured yet, what the memory lets in.

    Args:
        memory_bytes: of the device; a pack that needs more is made smaller.
    """
    if asked == "off":
        return 1
    room = room_for(spec, memory_bytes)
    if asked == "auto":
        asked = 1 if is_left_alone(spec) else _most_by_itself(gains, min(_UNMEASURED, room))
    return min(room, asked)


def _most_by_itself(gains: Gains, first: int) -> int:
    if not gains:
        return first
    best = max(sorted(gains), key=lambda members: gains[members])
    if gains[best] < WORTH:
        return 1 if max(gains) >= first else first  # a few members say nothing about many
    return min(MOST, 2 * best) if best == max(gains) else best


def evenly(most: int, waiting: int, slots: int) -> int:
    """Return how many of *waiting* such runs are the next pack, so that all *slots* have some."""
    return max(1, min(most, -(-waiting // slots)))
