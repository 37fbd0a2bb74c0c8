"""The progress of all claims: verdicts so far, and the time that is left."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Callable, Dict, List, Mapping, Sequence


class ClaimsProgress:
    """
    The finished and remaining work of all stages of all claims: tuning, and each round of seeds.

    Work that was done before the command started counts as neither. Otherwise a command that
    continues after an interruption would overestimate its pace.

    Args:
        plans: for each claim, the work of its stages, in any unit.
        clock: returns seconds, which only increase.
    """

    def __init__(
        self, plans: Mapping[str, Sequence[float]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._left: Dict[str, List[float]] = {claim: list(work) for claim, work in plans.items()}
        self._words: List[str] = []
        self._done = 0.0
        self._clock = clock
        self._start = clock()

    def found(self, claim: str, share: float) -> None:
        """Leave out *share* of the next stage of *claim*, which was done before."""
        left = self._left[claim]
        left[:1] = [work * (1 - share) for work in left[:1]]

    def stage_ended(self, claim: str) -> None:
        """Count the next stage of *claim* as done."""
        left = self._left[claim]
        self._done += sum(left[:1])
        del left[:1]

    def claim_ended(self, claim: str, word: str) -> None:
        """Print the state of all claims; rounds that *claim* did not need count no longer."""
        self._left[claim].clear()
        self._words.append(word)
        print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """Return what `claim_ended` prints."""
        said = ", ".join(f"{n} {word}" for word, n in sorted(Counter(self._words).items()))
        return f"{len(self._words)} of {len(self._left)} claims: {said}{self.left()}"

    def left(self) -> str:
        """Return how much time is left at most, at the pace so far; empty if that is unknown."""
        left = sum(work for stages in self._left.values() for work in stages)
        if not left or not self._done:
            return ""
        seconds = (self._clock() - self._start) / self._done * left
        return f"; at most about {_duration(seconds)} left"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(minutes, 1)} min"
