"""The common decisions of a pack's members: when to save, and which requests to stop to obey."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Sequence

from accelerators.lockstep import Lockstep
from normlab.errors import JobStopped
from normlab.training.loop import StopRequest
from normlab.training.replicas import STOP


class Decisions:
    """
    Save the members after the same updates, so that they can form a pack again later.

    Members check the time at different moments, so the first one that checks decides for all. Each
    member stops separately. All see the requests as they were at the beginning of a round, so that
    a request to all members stops all after the same update.

    Args:
        lockstep: the members' turns.
        stops: the request to stop of each member.
    """

    def __init__(self, lockstep: Lockstep, stops: Sequence[StopRequest]) -> None:
        self._lockstep = lockstep
        self._stops = stops
        self._seen: List[Optional[JobStopped]] = [None for _ in stops]
        self._seen_in = -1
        self._made: Dict[int, int] = {}

    def stop(self, member: int) -> Optional[JobStopped]:
        """Return the request to stop that *member* obeys in this round."""
        if self._seen_in != self._lockstep.rounds:
            self._seen_in = self._lockstep.rounds
            self._seen = [ask() for ask in self._stops]
        return self._seen[member]

    def common(self, number: int, own: int) -> int:
        """Return the common decision *number*; the first member that asks sets it to *own*."""
        self._made = {n: made for n, made in self._made.items() if n > number - _KEPT}
        return self._made.setdefault(number, 0 if own == STOP else own)


_KEPT = 8  # members are at most one update apart, which has two decisions


class Agreement:
    """A member's view in its own training, in which it is the only process."""

    rank = 0
    count = 1
    sharded = False

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions
        self._asked = 0

    def agree(self, decide: Callable[[], int]) -> int:
        """Return this member's decision to stop, or else the decision of all."""
        own = decide()
        self._asked += 1
        common = self._decisions.common(self._asked, own)
        return own if own == STOP else common
