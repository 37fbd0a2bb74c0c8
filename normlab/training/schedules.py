"""Learning-rate schedules as pure functions of the update's number."""

from __future__ import annotations

import math

from normlab.specs.optimization import Constant, Cosine, ScheduleSpec, Step


def factor(schedule: ScheduleSpec, step: int, steps: int, steps_per_epoch: int) -> float:
    """
    Return the factor of the learning rate at update *step* of *steps*, counted from 1.

    The warm-up rises in equal parts, and its last update has the full rate.
    """
    warmup = min(steps, round(schedule.warmup_epochs * steps_per_epoch))
    if step <= warmup:
        return step / warmup
    return _after_warmup(schedule, step - 1 - warmup, steps - warmup, step - 1, steps)


def _after_warmup(schedule: ScheduleSpec, i: int, n: int, done: int, steps: int) -> float:
    if isinstance(schedule, Constant):
        return 1.0
    if isinstance(schedule, Step):
        passed = sum(done >= milestone * steps for milestone in schedule.milestones)
        return float(schedule.gamma**passed)
    return _half_cosine(schedule, i / n)


def _half_cosine(schedule: Cosine, share: float) -> float:
    return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * share))
