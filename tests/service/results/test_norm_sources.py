"""A job can be steered by a matching job that has succeeded and recorded its norms."""

from __future__ import annotations

from typing import Any

import pytest

from normlab.errors import InvalidSpec
from normlab.events import Diagnostic, Finished
from service.jobs import leases
from service.results import reports
from service.results.norm_sources import norms_for, problems
from service.store.database import Database
from tests.service.work import claim, spec, submit

FIELDS: dict[str, Any] = {"epochs": 2, "diagnostics": ["weight_norms"]}
NORMS = [{"0": [1.0, 0.1 + 0.2]}, {"0": [2.0, 1e-300]}]


def recorded(database: Database, epochs: int = 2, **changes: Any) -> str:
    """Run a job that records the norms of the given number of epochs."""
    job = submit(database, **{**FIELDS, **changes}).id
    mine = claim(database)
    events = [
        Diagnostic(name="weight_norms", step=9 * (e + 1), record={"epoch": e, "norms": NORMS[e]})
        for e in range(epochs)
    ]
    assert reports.keep_all(database, mine, events)
    assert leases.finish(database, mine, Finished(step=18, summary={}))
    return job


def steered(by: str, **changes: Any) -> Any:
    return spec(**{**FIELDS, "optimizer": {"norms_of": by}, **changes})


def test_norms_come_back_bit_for_bit_epoch_by_epoch(database: Database) -> None:
    job = recorded(database)
    for by in (job, "twin"):
        assert problems(database, steered(by)) == []
        assert norms_for(database, steered(by)) == NORMS


def test_without_the_field_nothing_is_looked_up(database: Database) -> None:
    assert problems(database, spec()) == []
    assert norms_for(database, spec()) is None


def test_an_unknown_job_or_twin_is_refused_at_the_field(database: Database) -> None:
    for by, rule in (("01890000-0000-7000-8000-000000000000", "no job"), ("twin", "first")):
        (problem,) = problems(database, steered(by))
        assert problem.field == "optimizer.norms_of"
        assert rule in problem.rule


def test_a_job_that_has_not_succeeded_is_refused(database: Database) -> None:
    job = submit(database, **FIELDS).id
    (problem,) = problems(database, steered(job))
    assert "queued" in problem.rule


@pytest.mark.parametrize(
    ("theirs", "ours", "rule"),
    [
        ({}, {"model": {"name": "convnet"}}, "name one that matches"),
        ({}, {"model": {"width": 4}}, "name one that matches"),
        ({}, {"epochs": 3}, "recorded 2 epochs, but this one has 3"),
    ],
)
def test_a_job_that_does_not_fit_is_refused(
    database: Database, theirs: Any, ours: Any, rule: str
) -> None:
    job = recorded(database, **theirs)
    assert rule in problems(database, steered(job, **ours))[0].rule
    with pytest.raises(InvalidSpec, match="job"):
        norms_for(database, steered(job, **ours))


def test_a_job_without_records_is_refused(database: Database) -> None:
    job = recorded(database, epochs=0, diagnostics=[])
    assert "'weight_norms'" in problems(database, steered(job))[0].rule


def test_only_the_epochs_that_are_trained_must_be_recorded(database: Database) -> None:
    job = recorded(database)
    assert problems(database, steered(job, epochs=9, max_steps=20)) == []
