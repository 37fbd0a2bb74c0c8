"""Choose the number of threads before the first update, by measuring a copy or by a model.

A short measurement says whether each thread has a core, or waits for other work.
"""

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
CLEAR = 1.2  # two measurements suffice if they are this factor better or worse than needed
LOOK_S = 0.01  # longest time of a measurement; short updates are repeated within it
LONG_S = 0.25  # so long an update is measured once, because noise is short in comparison
SHARE = 0.04  # of the updates' time with the best number so far, for measuring each doubling
FEW = 200  # with fewer updates, the first two and a measurement are more than a few per cent
FEW_WORTH = 1.1  # the minimum gain by the model, which does not know the cost of threads
_ELEMENTS = 2**20  # for an operator of about a millisecond, which torch divides among 32 threads
_LIMIT_S = 0.01  # no round begins later; with other work on the cores, one round takes so long
_LEAST = 0.6  # the least share of the gain that free cores would bring

Update = Callable[[], object]
Clock = Callable[[], float]


def cores_are_free(threads: int, clock: Clock = time.perf_counter) -> bool:
    """
    Return whether an operator gains as much from *threads* as if each had a core.

    One thread and all threads are timed in turns. If there is other work on one of the cores, all
    threads wait for the one on that core, and the operator takes as long as on one thread, or
    longer.
    """
    x = torch.ones(_ELEMENTS)
    y = torch.empty_like(x)
    before = torch.get_num_threads()

    def seconds(number: int) -> float:
        torch.set_num_threads(number)
        begun = clock()
        torch.exp(x, out=y)
        return clock() - begun

    gains: List[float] = []
    spent = 0.0
    try:
        seconds(threads)  # starts the threads
        while len(gains) < ROUNDS and spent < _LIMIT_S:
            one, all_ = seconds(1), seconds(threads)
            gains.append(one / all_)
            spent += one + all_
    finally:
        torch.set_num_threads(before)
    return statistics.median(gains) >= _LEAST * threads


def choose_threads(
    update: Update,
    most: int,
    updates: int,
    parallel: Optional[float],
    clock: Clock = time.perf_counter,
    are_free: Callable[[int], bool] = cores_are_free,
) -> int:
    """
    Return how many threads, 1 to *most*, updates should use; the number doubles while this helps.

    Two numbers are measured in turns and compared turn by turn, so that other work on these cores
    affects both. On busy cores, all threads wait for a thread without a core, and one thread is
    best. If few updates are left, measuring takes too long; then the model and free cores decide.

    Args:
        update: makes one update, whose effects are not used.
        updates: the number of updates that are left.
        parallel: the share of an update's time that threads divide, by a model; None if unknown.
        clock: returns the time in seconds.
        are_free: returns whether so many threads have a core each at present.
    """
    if updates < FEW:
        expected = _expected(parallel or 0.0, most)
        return expected if expected == 1 or are_free(expected) else 1
    before = torch.get_num_threads()
    try:
        _update_s(update, 1, 0.0, clock)  # the first one also allocates and compiles
        best, best_s = 1, _update_s(update, 1, 0.0, clock)
        for more in _doubled(most):
            gain = _gain(update, best, more, best_s, updates, clock)
            if gain < WORTH:
                break
            best, best_s = more, best_s / gain
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


def _expected(parallel: float, most: int) -> int:
    def seconds(threads: int) -> float:
        return 1 - parallel + parallel / threads

    best = 1
    if seconds(most) * FEW_WORTH <= 1:
        for more in _doubled(most):
            if seconds(best) < WORTH * seconds(more):
                break
            best = more
    return best


def _gain(
    update: Update, fewer: int, more: int, fewer_s: float, updates: int, clock: Clock
) -> float:
    affordable = SHARE * updates * fewer_s / 2  # for each of the two numbers
    look_s = min(LOOK_S, affordable / ROUNDS)
    rounds = min(ROUNDS, max(1, int(affordable / max(look_s, fewer_s))))
    gains: List[float] = []
    while len(gains) < (1 if fewer_s >= LONG_S else rounds) and not _agree(gains):
        took_s = _update_s(update, fewer, look_s, clock)
        gains.append(took_s / _update_s(update, more, look_s, clock))
    # the median ignores a turn in which other work had the core
    return statistics.median(gains)


def _agree(gains: List[float]) -> bool:
    """Return whether at least two turns agree clearly that more threads help, or do not."""
    return len(gains) > 1 and (min(gains) > CLEAR * WORTH or max(gains) * CLEAR < WORTH)


def _update_s(update: Update, threads: int, look_s: float, clock: Clock) -> float:
    """Return the mean seconds of an update, over those that fit into *look_s*, at least one."""
    torch.set_num_threads(threads)
    begun, made, spent = clock(), 0, 0.0
    while made == 0 or spent + spent / made <= look_s:
        update()
        made, spent = made + 1, clock() - begun
    return max(spent, 1e-9) / made
