"""Whether threads have a core each is told by an operator's gain from them."""

from __future__ import annotations

from typing import Iterator

import pytest
import torch

from accelerators.thread_choice import cores_are_free


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
