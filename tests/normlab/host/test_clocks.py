"""Two clocks are compared without the time that a question and its answer take."""

from __future__ import annotations

import pytest

from normlab.host.clocks import least_ahead_s


@pytest.mark.parametrize("there", [100.0, 100.1, 103.0, 108.9, 109.0])
def test_a_slow_answer_does_not_set_clocks_apart(there: float) -> None:
    assert least_ahead_s(100.0, there, 109.0) == 0.0


def test_a_clock_that_is_ahead_or_behind_is_so_by_what_the_answer_cannot_have_taken() -> None:
    assert least_ahead_s(100.0, 97.5, 101.0) == 2.5
    assert least_ahead_s(100.0, 104.0, 101.0) == -3.0
