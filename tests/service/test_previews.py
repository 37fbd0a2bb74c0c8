"""A preview counts, estimates from what was run here, and lists what would be refused."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from normlab.errors import FieldProblem, InvalidSpec
from normlab.events import Finished
from normlab.records import StudyPreview
from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec
from service import jobs, leases, previews, studies
from service.database import Database

GRID = {"normalizer": ["batch", "layer"], "batch_size": [32, 8]}


def place(spec: JobSpec) -> tuple[str, str]:
    return "cpu", "the only device of this test"


def preview(database: Database, *, refuse_below: int = 1, **fields: Any) -> StudyPreview:
    def check(spec: JobSpec) -> list[FieldProblem]:
        wrong = spec.batch_size < refuse_below
        return [FieldProblem("batch_size", f"at least {refuse_below}")] if wrong else []

    spec = StudySpec.model_validate({"name": "s", "axes": GRID, "base": {"epochs": 2}, **fields})
    return previews.preview(
        database, spec, owner="ada", place=place, check=check, steps=lambda s: 100 * s.epochs
    )


def ran(database: Database, seconds_a_step: float, **fields: Any) -> None:
    spec = JobSpec.model_validate({"normalizer": "batch", **fields})
    jobs.submit(database, spec, owner="ada", device="cpu", device_reason="test")
    claim = leases.claim(database, "cpu", "w", 30)
    assert claim is not None
    assert leases.finish(database, claim, Finished(step=50, summary={}))
    with database.begin() as connection:
        connection.execute(
            text("update job set ran_s = :s, step = 50 where id = :j"),
            {"s": 50 * seconds_a_step, "j": claim.job},
        )


def test_it_counts_and_stores_nothing(database: Database) -> None:
    found = preview(database, seeds=3)
    assert (found.cells, found.epochs, found.steps) == (12, 24, 2400)
    assert found.estimated_s is None
    assert "no job like these" in found.estimated_from
    assert len(found.first) == 10
    assert studies.list_studies(database).studies == []


def test_time_comes_from_jobs_of_the_same_kind(database: Database) -> None:
    for seconds in (0.01, 0.02, 0.09):
        ran(database, seconds, batch_size=32)
    found = preview(database, axes={"normalizer": ["batch"], "batch_size": [32]})
    assert found.estimated_s == pytest.approx(200 * 0.02)


def test_other_batches_are_estimated_by_their_samples(database: Database) -> None:
    ran(database, 0.08, batch_size=8)
    found = preview(database, axes={"normalizer": ["layer"], "batch_size": [32]})
    assert found.estimated_s == pytest.approx(200 * 0.01 * 32)


def test_refused_cells_are_listed_with_the_rule(database: Database) -> None:
    found = preview(database, refuse_below=16)
    assert [r.coordinates["normalizer"] for r in found.refused] == ["batch", "layer"]
    assert found.refused[0].problems == [{"field": "batch_size", "rule": "at least 16"}]
    assert found.epochs == 4


def test_reusable_cells_are_counted_and_cost_nothing_when_reused(database: Database) -> None:
    ran(database, 0.01, batch_size=32, epochs=2)
    assert (preview(database).reusable, preview(database).epochs) == (1, 8)
    assert preview(database, reuse=True).epochs == 6


def test_left_out_identical_and_reused_cells_are_shown(database: Database) -> None:
    axes = {"normalizer": ["batch", {"kind": "batch"}], "batch_size": [32, 8]}
    rule = [{"normalizer": {"kind": "batch"}, "batch_size": 8}]
    ran(database, 0.01, batch_size=32, epochs=2)
    found = preview(database, axes=axes, exclude=rule, reuse=True, priority=7)
    assert (found.cells, found.excluded, found.identical, found.priority) == (2, 1, 1, 7)
    assert [(c.reused, c.state, c.job is None) for c in found.first] == [
        (True, "succeeded", False), (False, "missing", True),
    ]  # fmt: skip


def test_a_search_that_would_be_refused_is_refused_by_its_preview(database: Database) -> None:
    search = {"space": {"batch_size": {"low": 2, "high": 32}}}
    base = {"normalizer": "batch"}
    with pytest.raises(InvalidSpec, match=r"search\.space\.batch_size"):
        preview(database, axes=(), base=base, search=search)
