"""Measure in a few milliseconds whether each thread has a core, or waits for other work."""

from __future__ import annotations

import statistics
import time
from typing import Callable, List

import torch

_ELEMENTS = 2**20  # for an operator of about a millisecond, which torch divides among 32 threads
_ROUNDS = 5
_LIMIT_S = 0.01  # no round begins later; with other work on the cores, one round takes so long
_LEAST = 0.6  # the least share of the gain that free cores would bring

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
        while len(gains) < _ROUNDS and spent < _LIMIT_S:
            one, all_ = seconds(1), seconds(threads)
            gains.append(one / all_)
            spent += one + all_
    finally:
        torch.set_num_threads(before)
    return statistics.median(gains) >= _LEAST * threads
