"""How many threads updates gain from: measured before the first, on a copy that is thrown away."""

from __future__ import annotations

import statistics
import time
from typing import Callable, List, Optional

import torch

# What doubling must bring. Where it brings less, no number of threads brings a tenth more, by
# Amdahl's law: with u the parallel share over the serial one, (1 + u) / (1 + u / 2) < 1.045 says
# u < .0945, and 1 + u is what endless threads bring.
WORTH = 1.045
ROUNDS = 5
LOOK_S = 0.01  # of one look: short updates are made several times
LONG_S = 0.25  # so long an update is looked at once: noise is short beside it
FEW = 20  # updates: what is measured costs more than it brings
HEAVY_S = 0.1  # of an update on one thread, where nothing more is measured

Update = Callable[[], object]
Clock = Callable[[], float]


def choose_threads(
    update: Update, most: int, updates: int, clock: Clock = time.perf_counter
) -> int:
    """
    Return how many threads, 1 to *most*, updates should take; doubled as long as that pays.

    Two numbers are tried in turns and compared turn by turn, so that other work on the same cores
    meets both. Where cores are busy, threads wait for the one that has none, and one is best.

    Args:
        update: makes one; its effects are nobody's concern.
        updates: that are left to make; for a few, nothing is measured but the first.
        clock: in seconds.
    """
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        update()  # what the first one allocates and compiles is no update's time
        single_s = _time(update, 1, 1, clock)
        if updates < FEW:
            return most if single_s >= HEAVY_S else 1
        best = 1
        for more in _doubled(most):
            if _gain(update, best, more, single_s, clock) < WORTH:
                break
            best = more
        return best
    finally:
        torch.set_num_threads(before)


def take_threads(recorded: Optional[int]) -> int:
    """Have torch's operators on the host take *recorded* threads, if any, and say how many."""
    if recorded is not None:
        torch.set_num_threads(recorded)
    return torch.get_num_threads()


def _doubled(most: int) -> List[int]:
    numbers = [2**k for k in range(1, most.bit_length()) if 2**k < most]
    return [*numbers, most] if most > 1 else numbers


def _gain(update: Update, fewer: int, more: int, single_s: float, clock: Clock) -> float:
    times = max(1, round(LOOK_S / max(single_s, 1e-6)))
    rounds = 1 if single_s >= LONG_S else ROUNDS
    # the median is not moved by a turn in which somebody else had the core
    return statistics.median(
        _time(update, fewer, times, clock) / _time(update, more, times, clock)
        for _ in range(rounds)
    )


def _time(update: Update, threads: int, times: int, clock: Clock) -> float:
    torch.set_num_threads(threads)
    begun = clock()
    for _ in range(times):
        update()
    return max(clock() - begun, 1e-9)
