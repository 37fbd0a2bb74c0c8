"""Choose the number of threads by measuring updates of a temporary copy before the first update."""

from __future__ import annotations

import statistics
import time
from typing import Callable, List, Optional

import torch

# The minimum gain from doubling. With less, no number of threads gains a tenth, by
# Amdahl's law: with u the parallel share over the serial one, (1 + u) / (1 + u / 2) < 1.045 gives
# u < .0945, and 1 + u is the gain from infinitely many threads.
WORTH = 1.045
ROUNDS = 5
LOOK_S = 0.01  # of one measurement: short updates are repeated
LONG_S = 0.25  # an update this long is measured once, because noise is small compared with it
FEW = 20  # updates: with fewer, measuring costs more than it gains
HEAVY_S = 0.1  # of an update on one thread, beyond which nothing more is measured

Update = Callable[[], object]
Clock = Callable[[], float]


def choose_threads(
    update: Update, most: int, updates: int, clock: Clock = time.perf_counter
) -> int:
    """
    Return how many threads, 1 to *most*, updates should use; doubled while that helps.

    Two numbers are measured in turns and compared turn by turn, so that other work on these cores
    affects both. On busy cores, threads wait for one without a core, and one thread is best.

    Args:
        update: makes one update; its effects are discarded.
        updates: the remaining updates; if there are few, only the first is measured.
        clock: returns the time in seconds.
    """
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        update()  # the first update also allocates and compiles, so it is not measured
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
    """Set torch's threads on the host to *recorded*, if given, and return their number."""
    if recorded is not None:
        torch.set_num_threads(recorded)
    return torch.get_num_threads()


def _doubled(most: int) -> List[int]:
    numbers = [2**k for k in range(1, most.bit_length()) if 2**k < most]
    return [*numbers, most] if most > 1 else numbers


def _gain(update: Update, fewer: int, more: int, single_s: float, clock: Clock) -> float:
    times = max(1, round(LOOK_S / max(single_s, 1e-6)))
    rounds = 1 if single_s >= LONG_S else ROUNDS
    # a turn in which another process had the core does not change the median
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
