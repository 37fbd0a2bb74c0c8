"""How far all claims are: verdicts so far, and the time that is left."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Callable, Sequence


class ClaimsProgress:
    """
    One line after each claim.

    Args:
        claims: how many there are.
        cells: different cells of all their studies; rounds that are added come on top.
        clock: seconds, growing.
    """

    def __init__(
        self, claims: int, cells: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._claims = claims
        self._cells = cells
        self._clock = clock
        self._start = clock()

    def claim_ended(self, ended: int, verdicts: Sequence[str], cells: int) -> None:
        """Say where all stand; *cells* are done, as fast as the others will be."""
        print(self.line(ended, verdicts, cells), file=sys.stderr, flush=True)

    def line(self, ended: int, verdicts: Sequence[str], cells: int) -> str:
        """Return what `claim_ended` prints."""
        said = ", ".join(f"{n} {word}" for word, n in sorted(Counter(verdicts).items()))
        left_s = (self._clock() - self._start) / max(cells, 1) * max(self._cells - cells, 0)
        left = f"; about {_duration(left_s)} left" if ended < self._claims else ""
        return f"{ended} of {self._claims} claims: {said}{left}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(minutes, 1)} min"
