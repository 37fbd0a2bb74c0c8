"""Choose the best one of a job's checkpoints, by a metric that the job has reported."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from normlab.errors import NotFound
from normlab.records.keeping import Goal, KeepRules
from service.results import metrics
from service.store.database import Database

_OTHERWISE: tuple[str, Goal] = ("val/loss", "minimize")


def best_step(database: Database, job: str, rules: KeepRules, steps: Sequence[int]) -> int | None:
    """
    Return the update of *steps* with the best value; the newest one of several that are equal.

    A checkpoint's value is the last that was reported up to its update. Where a job has not
    reported the metric of the rules, that is the smallest `val/loss`.

    Returns:
        None: neither has been reported up to any of *steps*.
    """
    for name, goal in ((rules.best_by, rules.goal), _OTHERWISE):
        try:
            found = metrics.read_arrays(database, job, name)
        except NotFound:
            continue
        sign = 1.0 if goal == "maximize" else -1.0
        valued = [
            (sign * float(found["values"][at - 1]), step)
            for step, at in zip(steps, np.searchsorted(found["steps"], steps, side="right"))
            if at > 0 and np.isfinite(found["values"][at - 1])
        ]
        if valued:
            return max(valued)[1]
    return None
