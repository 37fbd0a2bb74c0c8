"""Learning-rate schedules as pure functions of the progress of a training."""

from __future__ import annotations

import inspect
import math
from functools import lru_cache
from typing import Any, Callable, FrozenSet, Tuple

from normlab.errors import InvalidSpec
from normlab.specs.registries import named_object
from normlab.specs.schedules import Schedule


def factor(schedule: Schedule, step: int, steps: int, steps_per_epoch: int) -> float:
    """
    Return the factor of the learning rate at update *step* of *steps*, counted from 1.

    The warm-up rises in equal parts, and its last update has the full rate.

    Raises:
        InvalidSpec: the function of a plugin returns something that cannot be a factor.
    """
    warmup = min(steps, round(schedule.warmup_epochs * steps_per_epoch))
    if step <= warmup:
        return schedule.warmup_from + (1 - schedule.warmup_from) * step / warmup
    known = {
        "progress": (step - 1 - warmup) / (steps - warmup),
        "done": step - 1,
        "steps": steps,
        "steps_per_epoch": steps_per_epoch,
    }
    function, takes = _function(schedule.factory)
    given = {name: value for name, value in known.items() if name in takes}
    return _checked(schedule, function(**given, **schedule.own), step)


@lru_cache(256)
def _function(path: str) -> Tuple[Callable[..., Any], FrozenSet[str]]:
    function = named_object(path)
    return function, frozenset(inspect.signature(function).parameters)


def _checked(schedule: Schedule, found: Any, step: int) -> float:
    if isinstance(found, (int, float)) and math.isfinite(found) and found >= 0:
        return float(found)
    raise InvalidSpec(
        f"schedule {schedule.name!r} returned {found!r} for update {step}; it returns the factor "
        "of the learning rate, a finite number of at least 0"
    )


def constant() -> float:
    """Return 1."""
    return 1.0


def drops(done: int, steps: int, milestones: Tuple[float, ...], gamma: float) -> float:
    """Return gamma^(the number of milestones that are passed)."""
    return float(gamma ** sum(done >= milestone * steps for milestone in milestones))


def half_cosine(progress: float, final: float) -> float:
    """Return f + (1 - f) (1 + cos(pi p)) / 2, with f = *final* and p = *progress*."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def polynomial(progress: float, power: float, final: float) -> float:
    """Return f + (1 - f) (1 - p)^power."""
    return float(final + (1 - final) * (1 - progress) ** power)


def one_cycle(progress: float, rise: float, first: float, final: float, shape: str) -> float:
    """
    Return the factor, which rises from *first* to 1 at *rise*, and then falls to *final*.

    Source:
        Smith and Topin, "Super-Convergence", arXiv:1708.07120, in the two phases of PyTorch's
        OneCycleLR. The momentum keeps its value.
    """
    if progress < rise:
        return _between(first, 1.0, progress / rise, shape)
    return _between(1.0, final, (progress - rise) / (1 - rise), shape)


def _between(a: float, b: float, share: float, shape: str) -> float:
    return b + (a - b) * (half_cosine(share, 0.0) if shape == "cosine" else 1 - share)


def warm_restarts(progress: float, cycles: int, growth: float, decay: float, final: float) -> float:
    """
    Return the factor within the current fall.

    Source:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts",
        arXiv:1608.03983, equation 5. The paper sets the number of epochs of the first fall; here
        the falls fill a training of any length.
    """
    lengths = [growth**i for i in range(cycles)]
    at = progress * sum(lengths)
    cycle = 0
    while cycle < cycles - 1 and at >= lengths[cycle]:
        at -= lengths[cycle]
        cycle += 1
    return float(decay**cycle * half_cosine(at / lengths[cycle], final))


def piecewise(
    progress: float, at: Tuple[float, ...], factors: Tuple[float, ...], join: bool
) -> float:
    """Return the factor of the part that *progress* is in, or on the line through it."""
    part = sum(progress >= fraction for fraction in at)
    if not join or part == len(at):
        return factors[part]
    begin = at[part - 1] if part else 0.0
    share = (progress - begin) / (at[part] - begin)
    return factors[part] + (factors[part + 1] - factors[part]) * share
