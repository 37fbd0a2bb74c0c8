"""The best size of a pack on a device whose packs measure their gain themselves."""

from __future__ import annotations

from typing import Mapping, Optional

from normlab.specs.jobs import JobSpec
from normlab.specs.pack_sizes import MOST, WORTH, PackSize, is_left_alone, room_for

Gains = Mapping[int, float]
"""The measured gains of packs of such jobs on the device, by the number of members."""

_UNMEASURED = 16  # the number of members of the first pack, which measures


def members_by_measure(
    spec: JobSpec, asked: PackSize, memory_bytes: Optional[int], gains: Gains
) -> int:
    """
    Return the largest number of such runs for one pack; 1 if each should run alone.

    `auto` takes the size that gained most, or twice as many if that was the largest; if nothing was
    measured yet, it takes as many as the memory allows.

    Args:
        memory_bytes: the device's memory; a pack that needs more is made smaller.
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
        return 1 if max(gains) >= first else first  # the gain of a few says nothing about many
    return min(MOST, 2 * best) if best == max(gains) else best


def evenly(most: int, waiting: int, slots: int) -> int:
    """Return how many of *waiting* such runs form the next pack, so that all *slots* have some."""
    return max(1, min(most, -(-waiting // slots)))
