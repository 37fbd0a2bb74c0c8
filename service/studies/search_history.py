"""The history of a search: its trials, the best one, and which parameters matter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from normlab.errors import NotFound
from normlab.not_finite import name_of
from normlab.records import SearchHistory, TrialRecord
from normlab.specs.cells import label
from normlab.specs.studies import Search
from service.store.database import Database
from service.store.identity import parse_id
from service.studies import details
from service.studies.sampling import distributions, params
from service.studies.searches import trials_of

FEWEST = 10
"""Succeeded trials that are needed to say which parameters matter."""


def history(database: Database, study: str) -> SearchHistory:
    """
    Return the trials of a search in their order, with the best value so far.

    Raises:
        NotFound: no such study, or it is a grid.
    """
    search = details.get(database, study, 0).spec.search
    if search is None:
        raise NotFound(f"study {study} is a grid and has no trials; its results are means")
    with database.autocommit() as connection:
        rows = trials_of(connection, parse_id(study, "study"), search.metric)
    trials = _trials(search, rows)
    importance, why = _importance(search, rows)
    return SearchHistory(
        study=study,
        metric=search.metric,
        goal=search.goal,
        paths=list(search.space),
        logarithmic=[path for path, of in search.space.items() if of.log],
        trials=trials,
        best=_best(search, trials),
        importance=importance,
        why=why,
    )


def _trials(search: Search, rows: Sequence[Any]) -> list[TrialRecord]:
    found: list[TrialRecord] = []
    best: float | None = None
    better = max if search.goal == "maximize" else min
    for number, row in enumerate(rows):
        name = None if row.value is None else name_of(row.value)
        if _counts(row):
            best = row.value if best is None else better(best, row.value)
        found.append(
            TrialRecord(
                number=number,
                job=str(row.job),
                state="pruned" if row.pruned else row.state,
                coordinates=row.coordinates,
                labels={path: label(value) for path, value in row.coordinates.items()},
                value=None if name else row.value,
                not_finite={"/value": name} if name else {},
                best=best,
            )
        )
    return found


def _counts(row: Any) -> bool:
    succeeded = row.state == "succeeded" and row.value is not None
    return succeeded and math.isfinite(row.value)


def _best(search: Search, trials: Sequence[TrialRecord]) -> int | None:
    last = trials[-1].best if trials else None
    reached = (t.number for t in trials if t.state == "succeeded" and t.value == last)
    return None if last is None else next(reached)


def _importance(search: Search, rows: Sequence[Any]) -> tuple[dict[str, float], str]:
    """
    Ask Optuna which parameters separate the best tenth of the trials from the others.

    Source:
        Watanabe, Bansal and Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance
        in Arbitrary Subspaces", IJCAI 2023, arXiv:2304.10255.
    """
    if len(search.space) < 2:
        return {}, "the search has one parameter"
    known = [row for row in rows if _counts(row)]
    if len(known) < FEWEST:
        return {}, f"it takes {FEWEST} succeeded trials, and there are {len(known)}"
    if len({row.value for row in known}) == 1:
        return {}, "all trials have the same value"
    import optuna  # a large library, and only searches need it
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=search.goal)
    intervals = distributions(search.space)
    for row in known:
        values = params(search.space, row.coordinates)
        study.add_trial(
            optuna.trial.create_trial(value=row.value, params=values, distributions=intervals)
        )
    found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {path: float(share) for path, share in found.items()}, ""
