"""Rebuild a search's trials for its sampler in each round, from our own tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from normlab.specs.cells import Coordinates
from normlab.specs.studies import Parameter, Search
from service.results import metrics
from service.store.database import Database

if TYPE_CHECKING:
    import optuna

_REDUCTION = 4  # ASHA promotes one trial in this many to the next rung


def rebuilt(database: Database, search: Search, trials: Sequence[Any]) -> optuna.Study:
    """Give a new sampler all trials so far."""
    import optuna  # a large library, and only searches need it

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=search.goal, sampler=_sampler(search, len(trials)))
    intervals = distributions(search.space)
    courses = [_course(database, search, row) for row in trials]
    first = _first_rung(trials, courses) if search.pruner == "asha" else None
    for row, course in zip(trials, courses, strict=True):
        state = _trial_state(row)
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=row.value if state == optuna.trial.TrialState.COMPLETE else None,
                params=params(search.space, row.coordinates),
                distributions=intervals,
                intermediate_values=course,
                system_attrs=_rungs(row, course, first) if first else {},
            )
        )
    return study


def _trial_state(row: Any) -> optuna.trial.TrialState:
    from optuna.trial import TrialState

    if row.state == "succeeded" and row.value is not None and math.isfinite(row.value):
        return TrialState.COMPLETE  # Optuna refuses NaN, and infinity would rank above all
    if row.pruned:
        return TrialState.PRUNED
    return TrialState.RUNNING if row.state in ("queued", "running") else TrialState.FAIL


def _course(database: Database, search: Search, row: Any) -> dict[int, float]:
    if search.pruner == "none" or row.value is None:
        return {}
    series = metrics.read(database, str(row.job), search.metric)
    return {
        step: value
        for step, value in zip(series.steps, series.values, strict=True)
        if value is not None
    }


def _first_rung(trials: Sequence[Any], courses: Sequence[Mapping[int, float]]) -> int | None:
    """Return the step of the lowest rung, as Optuna's `auto` derives it from complete trials."""
    whole = [
        max(course)
        for row, course in zip(trials, courses, strict=True)
        if row.state == "succeeded" and course
    ]
    return max(max(whole) // 100, 1) if whole else None


def _rungs(row: Any, course: Mapping[int, float], first: int) -> dict[str, float]:
    """
    Return the values of *row* at each rung that it has reached, in the form of Optuna's ASHA.

    Optuna stores them on a trial when it is asked about that trial. A rebuilt study has
    no such values, and so no competitors. The highest rung of a running trial is left
    open, because the pruner decides about it.
    """
    found: dict[str, float] = {}
    step = first
    while reached := [s for s in course if s >= step]:
        found[f"completed_rung_{len(found)}"] = course[min(reached)]
        step *= _REDUCTION
    if row.state == "running" and found:
        found.popitem()
    return found


def _sampler(search: Search, trials: int) -> optuna.samplers.BaseSampler:
    from optuna.samplers import RandomSampler, TPESampler

    seed = (search.seed + trials) % 2**32  # each round has its own random numbers
    if search.sampler == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, constant_liar=True)


def pruner_of(search: Search) -> optuna.pruners.BasePruner:
    """Return the pruner that stops bad trials."""
    from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner

    if search.pruner == "median":
        return MedianPruner(n_startup_trials=4)
    return (
        SuccessiveHalvingPruner(reduction_factor=_REDUCTION)
        if search.pruner == "asha"
        else NopPruner()
    )


def distributions(
    space: Mapping[str, Parameter],
) -> dict[str, optuna.distributions.BaseDistribution]:
    """Convert a search's space to Optuna's form."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, optuna.distributions.BaseDistribution] = {}
    for path, p in space.items():
        if p.choices is not None:  # by index, because a choice may be an object
            found[path] = CategoricalDistribution(range(len(p.choices)))
        elif p.integer:
            found[path] = IntDistribution(int(p.low or 0), int(p.high or 0), log=p.log)
        else:
            found[path] = FloatDistribution(float(p.low or 0), float(p.high or 0), log=p.log)
    return found


def params(space: Mapping[str, Parameter], coordinates: Coordinates) -> dict[str, Any]:
    """Convert the coordinates of a trial to Optuna's form."""
    return {
        path: p.choices.index(coordinates[path]) if p.choices else coordinates[path]
        for path, p in space.items()
    }
