from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from normlab.specs.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    OneCycle,
    Piecewise,
    Polynomial,
    Schedule,
    Step,
    WarmRestarts,
)
from normlab.training.schedules import factor


def curve(schedule: Schedule, steps: int, per_epoch: int = 10) -> list[float]:
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


def of_torch(make: Any, steps: int, **options: Any) -> list[float]:
    """Return the factors of one of torch's own schedules."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer, **options)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_a_polynomial_is_that_of_torch() -> None:
    expected = of_torch(lr_scheduler.PolynomialLR, 20, total_iters=20, power=2)
    assert curve(Polynomial(power=2), 20) == pytest.approx(expected)


def test_a_line_ends_above_its_final_share() -> None:
    assert curve(Polynomial(final=0.2), 4) == pytest.approx([1, 0.8, 0.6, 0.4])


@pytest.mark.parametrize(("shape", "theirs"), [("cosine", "cos"), ("linear", "linear")])
def test_one_cycle_is_that_of_torch(shape: Any, theirs: str) -> None:
    # torch's ends of both parts fall on updates: 101 of them are 100 steps apart
    options = {"div_factor": 25, "final_div_factor": 100, "cycle_momentum": False}
    expected = of_torch(
        lr_scheduler.OneCycleLR,
        100,
        max_lr=1.0,
        total_steps=101,
        anneal_strategy=theirs,
        pct_start=31 / 101,
        **options,
    )
    found = curve(OneCycle(rise=0.3, first=0.04, final=4e-4, shape=shape), 100)
    assert found == pytest.approx(expected)
    assert found.index(max(found)) == 30


def test_warm_restarts_are_those_of_torch() -> None:
    make = lr_scheduler.CosineAnnealingWarmRestarts
    expected = of_torch(make, 70, T_0=10, T_mult=2, eta_min=0.1)
    assert curve(WarmRestarts(cycles=3, growth=2, final=0.1), 70) == pytest.approx(expected)


def test_each_restart_may_be_lower() -> None:
    found = curve(WarmRestarts(cycles=2, growth=1, decay=0.5), 10)
    assert (found[0], found[5]) == (1, 0.5)


def test_piecewise_factors_are_steps_or_corners_of_lines() -> None:
    steps = Piecewise(at=(0.25, 0.75), factors=(1, 0.5, 0.1))
    assert curve(steps, 8) == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.1, 0.1]
    lines = Piecewise(at=(0.5,), factors=(0.2, 1), join=True)
    assert curve(lines, 8) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])


@pytest.mark.parametrize("kind", list(SCHEDULES.values()))
def test_every_schedule_follows_its_warm_up_at_the_same_height(kind: Any) -> None:
    plain = curve(kind(), 90)
    warmed = curve(kind(warmup_epochs=1, warmup_from=0.5), 100)
    assert warmed[:10] == pytest.approx([0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1])
    if kind is not Step:  # its milestones are of the whole training
        assert warmed[10:] == pytest.approx(plain)
    assert min(plain) >= 0
