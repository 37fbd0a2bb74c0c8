from __future__ import annotations

import pytest

from normlab.specs.optimization import Constant, Cosine, ScheduleSpec, Step
from normlab.training.schedules import factor


def curve(schedule: ScheduleSpec, steps: int, per_epoch: int = 10) -> list[float]:
    return [factor(schedule, step, steps, per_epoch) for step in range(1, steps + 1)]


def test_a_constant_schedule_keeps_its_rate() -> None:
    assert curve(Constant(), 5) == [1, 1, 1, 1, 1]


def test_warm_up_rises_in_equal_parts_and_ends_at_the_full_rate() -> None:
    assert curve(Constant(warmup_epochs=0.4), 6) == [0.25, 0.5, 0.75, 1, 1, 1]


def test_steps_drop_at_their_share_of_the_training() -> None:
    expected = [1] * 5 + [0.1] * 3 + [0.01] * 2
    assert curve(Step(milestones=(0.5, 0.8)), 10) == pytest.approx(expected)


def test_cosine_falls_from_one_past_the_half_to_its_end() -> None:
    values = curve(Cosine(final=0.2), 100)
    assert values[0] == 1
    assert values[50] == pytest.approx(0.6)  # halfway down
    assert values == sorted(values, reverse=True)
    assert 0.2 < values[-1] < 0.201


def test_cosine_begins_where_the_warm_up_ends() -> None:
    values = curve(Cosine(warmup_epochs=1), 50)
    assert max(values) == values[9] == values[10] == 1


def test_a_training_shorter_than_its_warm_up_is_all_warm_up() -> None:
    assert curve(Cosine(warmup_epochs=1), 4) == [0.25, 0.5, 0.75, 1]
