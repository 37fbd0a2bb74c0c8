"""A preview counts, estimates times from finished jobs, and lists refused cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from normlab.errors import FieldProblem, InvalidSpec
from normlab.events import Finished
from normlab.plugins.loading import load, use
from normlab.records import StudyPreview
from normlab.specs import registries
from normlab.specs.costs import job_s
from normlab.specs.dataset_contents import look_below
from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec
from service.jobs import leases, submissions
from service.store.database import Database
from service.studies import previews
from service.studies.listing import list_studies
from tests.normlab.plugins.own_networks import my_nets

GRID = {"normalizer": ["batch", "layer"], "batch_size": [32, 8]}


def preview(
    database: Database,
    *,
    refuse_below: int = 1,
    device: str = "cpu",
    steps: int | None = None,
    unknown: str = "",
    **fields: Any,
) -> StudyPreview:
    def check(spec: JobSpec) -> list[FieldProblem]:
        wrong = spec.batch_size < refuse_below
        return [FieldProblem("batch_size", f"at least {refuse_below}")] if wrong else []

    spec = StudySpec.model_validate({"name": "s", "axes": GRID, "base": {"epochs": 2}, **fields})

    def count(spec: JobSpec) -> int | None:
        return None if spec.normalizer.kind == unknown else steps or 100 * spec.epochs

    def place(spec: JobSpec) -> tuple[str, str]:
        return device, "the only device of this test"

    return previews.preview(database, spec, owner="ada", place=place, check=check, steps=count)


def ran(database: Database, seconds_a_step: float, steps: int = 50, **fields: Any) -> None:
    spec = JobSpec.model_validate({"normalizer": "batch", **fields})
    submissions.submit(database, spec, owner="ada", device="cpu", device_reason="test")
    claim = leases.claim(database, "cpu", "w", 30)
    assert claim is not None
    assert leases.finish(database, claim, Finished(step=50, summary={}))
    with database.begin() as connection:
        connection.execute(
            text("update job set ran_s = :s, step = :n where id = :j"),
            {"s": steps * seconds_a_step, "n": steps, "j": claim.job},
        )


def test_a_preview_counts_and_stores_nothing(database: Database) -> None:
    found = preview(database, seeds=3)
    assert (found.cells, found.epochs, found.steps) == (12, 24, 2400)
    assert len(found.first) == 10
    assert list_studies(database).studies == []


def test_all_refused_cells_are_counted_and_the_first_are_listed(database: Database) -> None:
    found = preview(database, refuse_below=16, seeds=40)
    assert found.refused_cells == 80
    assert len(found.refused) == previews.MOST_REFUSALS


ONE = {"normalizer": ["batch"], "batch_size": [32]}


def test_a_job_like_finished_ones_takes_their_median_time(database: Database) -> None:
    for took in (2.0, 4.0, 18.0):
        ran(database, took / 200, epochs=2, steps=200)
    found = preview(database, axes=ONE, reuse=False)
    assert found.estimated_s == pytest.approx(4.0)
    assert found.estimate == "about 4.0 s, from finished jobs of this kind"


def test_other_batches_are_scaled_by_the_cost_of_their_updates(database: Database) -> None:
    ran(database, 0.02, epochs=2, steps=374)
    known = JobSpec.model_validate({"normalizer": "batch", "epochs": 2})
    small = known.model_copy(update={"batch_size": 2})
    at_32, at_2 = job_s(known, 374), job_s(small, 6000)
    assert at_32 is not None
    assert at_2 is not None
    found = preview(
        database, axes={"batch_size": [2]}, base={"normalizer": "batch", "epochs": 2}, steps=6000
    )
    assert found.estimated_s == pytest.approx(374 * 0.02 * at_2 / at_32)
    assert found.estimated_s > 2 * 374 * 0.02  # 16 times the updates, at more than an eighth each
    assert "scaled by the cost of an update" in found.estimate


def test_the_nearest_jobs_set_the_scale(database: Database) -> None:
    ran(database, 0.5, normalizer="online", batch_size=128, epochs=2, steps=200)
    ran(database, 0.01, epochs=2, steps=200)
    near = preview(database, axes={"normalizer": ["batch"], "batch_size": [30]}).estimated_s
    assert near == pytest.approx(2.0, rel=0.2)


def test_without_any_job_a_cpu_is_estimated_by_calibration_and_others_not_at_all(
    database: Database,
) -> None:
    on_cpu = preview(database, axes=ONE)
    assert on_cpu.estimated_s == pytest.approx(
        job_s(JobSpec.model_validate({"normalizer": "batch", "epochs": 2}), 200)
    )
    assert "calibration on one core" in on_cpu.estimate
    on_cuda = preview(database, axes=ONE, device="cuda")
    assert on_cuda.estimated_s is None
    assert on_cuda.estimate == "not known, because no job has finished on its device yet"


def test_unknown_times_are_left_out_and_named(database: Database) -> None:
    found = preview(database, axes={"normalizer": ["batch", "layer"]}, unknown="layer")
    assert found.estimated_s == pytest.approx(preview(database, axes=ONE).estimated_s)
    assert "(1 of 2)" in found.estimate
    assert "only the files tell" in found.estimate


def test_a_search_counts_all_its_trials(database: Database) -> None:
    space = {"optimizer.lr": {"low": 0.01, "high": 1}}
    search = {"trials": 30, "space": space}
    one = preview(database, axes=ONE)
    found = preview(database, axes={}, base={"normalizer": "batch", "epochs": 2}, search=search)
    assert (found.cells, found.epochs, found.steps, found.first) == (30, 60, 6000, [])
    assert one.estimated_s is not None
    assert found.estimated_s == pytest.approx(30 * one.estimated_s)


def test_more_work_never_has_a_smaller_estimate(database: Database) -> None:
    ran(database, 0.02, epochs=2, steps=374)
    times = [
        preview(
            database, axes={"batch_size": [size]}, base={"normalizer": "batch"}, steps=6000 // size
        ).estimated_s
        for size in (64, 32, 16, 8, 4, 2, 1)
    ]
    known = [time for time in times if time is not None]
    assert len(known) == 7
    assert known == sorted(known)


def test_refused_cells_are_listed_with_the_rule(database: Database) -> None:
    found = preview(database, refuse_below=16)
    assert [r.coordinates["normalizer"] for r in found.refused] == ["batch", "layer"]
    assert found.refused[0].problems == [{"field": "batch_size", "rule": "at least 16"}]
    assert found.epochs == 4


def test_reusable_cells_are_counted_and_cost_nothing_when_reused(database: Database) -> None:
    ran(database, 0.01, batch_size=32, epochs=2)
    assert (preview(database).reusable, preview(database).epochs) == (1, 6)
    again = preview(database, reuse=False)
    assert (again.reusable, again.epochs) == (1, 8)


def test_left_out_identical_and_reused_cells_are_shown(database: Database) -> None:
    axes = {"normalizer": ["batch", {"kind": "batch"}], "batch_size": [32, 8, 4]}
    rule = [{"normalizer": {"kind": "batch"}, "batch_size": 8}]
    ran(database, 0.01, batch_size=32, epochs=2)
    found = preview(database, axes=axes, exclude=rule, priority=7)
    assert (found.cells, found.excluded, found.identical, found.priority) == (2, 2, 2, 7)
    assert [(c.reused, c.state, c.job is None) for c in found.first] == [
        (True, "succeeded", False), (False, "missing", True),
    ]  # fmt: skip


def test_a_rule_that_matches_no_cell_is_told_and_is_no_error(database: Database) -> None:
    rules = [{"normalizer": "batch", "batch_size": 8}, {"normalizer": "gruop"}]
    found = preview(database, exclude=rules)
    assert (found.excluded, found.idle_rules) == (1, [{"normalizer": "gruop"}])


def test_a_search_that_would_be_refused_is_refused_by_its_preview(database: Database) -> None:
    search = {"space": {"batch_size": {"low": 2, "high": 32}}}
    base = {"normalizer": "batch"}
    with pytest.raises(InvalidSpec, match=r"search\.space\.batch_size"):
        preview(database, axes=(), base=base, search=search)


def test_a_finished_job_whose_file_is_gone_stops_no_preview(
    database: Database, tmp_path: Path
) -> None:
    x, y = np.zeros((64, 1, 8, 8), np.float32), np.arange(64) % 2
    np.savez(tmp_path / "gone.npz", train_x=x, train_y=y, test_x=x, test_y=y)
    look_below(tmp_path)
    try:
        ran(database, 0.1, dataset={"name": "file", "file": "gone.npz"})
        (tmp_path / "gone.npz").unlink()
        assert preview(database, axes=ONE).cells == 1
    finally:
        look_below(None)


def test_a_network_of_ones_own_has_no_estimate_and_says_why(
    database: Database, tmp_path: Path
) -> None:
    use([load(my_nets().written_below(tmp_path), "my_nets.py")])
    try:
        found = preview(database, axes=ONE, base={"model": {"name": "tower_of_mine"}})
    finally:
        registries.put_in_force([])
    assert "the cost of a network of your own is not known" in found.estimate
