"""What a search has tried: the best so far, and which parameter mattered."""

from __future__ import annotations

import math
from typing import Any

import pytest

from normlab.errors import NotFound
from normlab.events import Finished
from service.jobs import leases
from service.store.database import Database
from service.studies.search_history import history
from tests.service.finishing import made
from tests.service.studies.test_searches import claim, create, report, searcher

SPACE: dict[str, Any] = {
    "optimizer.lr": {"low": 1e-4, "high": 1.0, "log": True},
    "optimizer.momentum": {"low": 0.0, "high": 0.99},
}


def run(database: Database, of: Any) -> None:
    while searcher(database).round():
        while (taken := claim(database)) is not None:
            report(database, taken, [of(taken.spec.optimizer)])
            leases.finish(database, taken, Finished(step=1, summary={}))


def test_a_history_has_the_best_value_so_far_and_the_best_trial(database: Database) -> None:
    study = create(database, space=SPACE, trials=12, parallel=4)
    run(database, lambda optimizer: 1 - abs(optimizer.lr - 0.1))
    found = history(database, study.id)
    values = [trial.value or 0.0 for trial in found.trials]
    assert [trial.best for trial in found.trials] == [max(values[: i + 1]) for i in range(12)]
    assert found.best == values.index(max(values))
    assert found.logarithmic == ["optimizer.lr"]
    assert [set(trial.labels) for trial in found.trials] == [set(SPACE)] * 12


def test_a_trial_that_is_not_finite_is_named_and_the_search_goes_on(database: Database) -> None:
    study = create(database, space=SPACE, trials=6, parallel=2)
    values = iter([math.nan, 0.5, math.inf, 0.25, 0.75, 0.5])
    run(database, lambda _: next(values))
    found = history(database, study.id)
    assert [trial.value for trial in found.trials] == [None, 0.5, None, 0.25, 0.75, 0.5]
    assert [found.trials[i].not_finite for i in range(3)] == [
        {"/value": "NaN"}, {}, {"/value": "Infinity"},
    ]  # fmt: skip
    assert (found.best, found.trials[5].best) == (4, 0.75)


def test_the_parameter_that_decides_is_more_important(database: Database) -> None:
    study = create(database, space=SPACE, trials=40, parallel=40, goal="minimize")
    run(database, lambda optimizer: optimizer.lr)
    found = history(database, study.id)
    assert sum(found.importance.values()) == pytest.approx(1)
    assert found.importance["optimizer.lr"] > 0.7
    assert (found.best, found.why) == (
        min(found.trials, key=lambda trial: trial.value or 0.0).number, "",
    )  # fmt: skip


def test_importance_that_cannot_be_known_says_why(database: Database) -> None:
    few = create(database, space=SPACE, trials=3)
    run(database, lambda optimizer: optimizer.lr)
    assert "takes 10 succeeded trials, and there are 3" in history(database, few.id).why
    one = create(database, trials=4)
    assert history(database, one.id).why == "the search has one parameter"
    assert history(database, one.id).best is None


def test_a_grid_has_no_trials(database: Database) -> None:
    study = made(database, {"name": "g", "axes": {"normalizer": ["batch", "layer"]}})
    with pytest.raises(NotFound, match="is a grid"):
        history(database, study)
