"""A job uses only the threads that make its updates faster."""

from __future__ import annotations

import random
from typing import Callable, Dict, Iterator, Optional

import pytest
import torch

from accelerators.thread_choice import FEW, choose_threads, cores_are_free

MANY = 10 * FEW


class Machine:
    """Simulated updates; *seconds* gives their time for a number of threads."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.now = 0.0
        self.looks: Dict[int, int] = {}
        self._seconds = seconds

    def update(self) -> None:
        threads = torch.get_num_threads()
        self.looks[threads] = self.looks.get(threads, 0) + 1
        self.now += self._seconds(threads)

    def choose(self, most: int, updates: int = MANY) -> int:
        return choose_threads(self.update, most, updates, None, clock=lambda: self.now)


def amdahl(single_s: float, parallel: float) -> Callable[[int], float]:
    return lambda threads: single_s * (1 - parallel + parallel / threads)


@pytest.mark.skipif(
    not hasattr(torch, "compiler"), reason="PyTorch 2.0 takes 10 ms to change the threads"
)
@pytest.mark.parametrize("most", [2, 3, 4, 8, 16, 64])
@pytest.mark.parametrize("single_s", [1e-4, 0.02, 2.0])
def test_no_fixed_number_is_faster_by_more_than_a_tenth(most: int, single_s: float) -> None:
    for percent in range(0, 101, 5):
        seconds = amdahl(single_s, percent / 100)
        chosen = Machine(seconds).choose(most)
        assert seconds(chosen) <= 1.1 * min(map(seconds, range(1, most + 1)))


def test_threads_that_wait_for_a_busy_core_are_not_used() -> None:
    machine = Machine(lambda threads: 0.003 if threads == 1 else 0.08)
    assert machine.choose(16) == 1
    assert set(machine.looks) == {1, 2}


def test_other_work_that_comes_and_goes_does_not_decide() -> None:
    draw = random.Random(7)

    def disturbed(threads: int) -> float:
        return 0.02 / threads * (20 if draw.random() < 0.15 else 1)

    assert [Machine(disturbed).choose(2) for _ in range(20)].count(2) >= 18


def test_long_updates_are_measured_once() -> None:
    machine = Machine(amdahl(5.0, 1.0))
    assert machine.choose(4) == 4
    assert machine.looks == {1: 3, 2: 2, 4: 1}


def of_few(most: int, parallel: Optional[float], free: bool) -> int:
    """Return what is chosen for a few updates, of which none may be made."""
    machine = Machine(amdahl(1.0, 1.0))
    chosen = choose_threads(machine.update, most, FEW - 1, parallel, are_free=lambda _: free)
    assert machine.looks == {}
    return chosen


@pytest.mark.parametrize(
    ("parallel", "chosen"), [(None, 1), (0.0, 1), (0.1, 1), (0.2, 4), (0.6, 8)]
)
def test_a_job_of_few_updates_goes_by_the_share_that_threads_divide(
    parallel: Optional[float], chosen: int
) -> None:
    assert of_few(8, parallel, free=True) == chosen


def test_a_job_of_few_updates_takes_one_thread_where_cores_are_busy() -> None:
    assert of_few(8, 0.95, free=False) == 1


@pytest.mark.parametrize("most", [2, 3, 4, 8, 16, 64])
def test_few_updates_lose_a_tenth_at_most_where_the_model_is_right(most: int) -> None:
    for percent in range(0, 101, 5):
        seconds = amdahl(1.0, percent / 100)
        chosen = of_few(most, percent / 100, free=True)
        assert seconds(chosen) <= 1.1 * min(map(seconds, range(1, most + 1))), percent


@pytest.mark.parametrize("parallel", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("single_s", [1e-4, 1e-3, 0.02, 0.2, 2.0])
@pytest.mark.parametrize("updates", [FEW, 3 * FEW, MANY])
def test_measuring_and_training_take_a_tenth_more_than_the_best_number(
    parallel: float, single_s: float, updates: int
) -> None:
    seconds = amdahl(single_s, parallel)
    machine = Machine(seconds)
    trained_s = updates * seconds(machine.choose(2, updates))
    assert machine.now + trained_s <= 1.1 * updates * min(seconds(1), seconds(2))


def test_a_measurement_with_waiting_threads_ends_with_the_first_update() -> None:
    machine = Machine(lambda threads: 0.001 if threads == 1 else 0.04)
    assert machine.choose(2) == 1
    assert machine.looks[2] == 2  # and not the fifty that one thread does in the same time


@pytest.mark.parametrize(("gain", "looks"), [(1.9, 2), (0.5, 2), (1.1, 5)])
def test_two_looks_are_enough_if_both_say_clearly_which_number_is_better(
    gain: float, looks: int
) -> None:
    machine = Machine(lambda threads: 0.02 if threads == 1 else 0.02 / gain)
    assert machine.choose(2) == (2 if gain > 1 else 1)
    assert machine.looks[2] == looks


def test_the_number_of_threads_is_restored() -> None:
    before = torch.get_num_threads()
    Machine(amdahl(0.01, 1.0)).choose(8)
    assert torch.get_num_threads() == before


def timed(single_s: float, threaded_s: float) -> Iterator[float]:
    """Return the readings of a clock around a first operator on all threads, then by turns."""
    now = 0.0
    for spent in [threaded_s, *([single_s, threaded_s] * 5)]:
        yield now
        now += spent
        yield now


@pytest.mark.parametrize(
    ("threads", "threaded_s", "free"),
    [(2, 0.55, True), (2, 0.9, False), (2, 20.0, False), (8, 0.2, True), (8, 0.5, False)],
)
def test_free_cores_divide_the_time(threads: int, threaded_s: float, free: bool) -> None:
    readings = timed(1e-3, 1e-3 * threaded_s)
    assert cores_are_free(threads, clock=lambda: next(readings)) is free


def test_one_round_is_enough_where_it_takes_long() -> None:
    readings = timed(0.001, 0.02)
    assert not cores_are_free(2, clock=lambda: next(readings))
    assert len(list(readings)) == 2 * 8  # of five rounds, four were not begun


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    cores_are_free(2)
    assert torch.get_num_threads() == before
