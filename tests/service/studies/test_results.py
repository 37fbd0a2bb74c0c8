"""Results: one number per cell, grouped over seeds, and nothing dropped silently."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import text

from normlab.errors import InvalidSpec, NotFound
from normlab.events import Finished, Metrics, Series, Started
from normlab.specs.studies import StudySpec
from service.jobs import leases
from service.results import reports
from service.store.database import Database
from service.studies import comparisons, details, results, studies
from service.studies.cell_values import Question
from tests.service.finishing import finish_all, made


@pytest.fixture
def study(database: Database) -> str:
    axes = {"normalizer": ["batch", "layer"], "batch_size": [32, 2]}
    return made(database, {"name": "s", "axes": axes, "seeds": 3})


def test_rows_are_means_over_seeds(database: Database, study: str) -> None:
    finish_all(database)
    table = results.results(database, study, Question())
    assert [(r.labels["normalizer"], r.labels["batch_size"]) for r in table.rows] == [
        ("batch", "32"), ("batch", "2"), ("layer", "32"), ("layer", "2"),
    ]  # fmt: skip
    first = table.rows[0]
    assert (first.n, first.failed, first.mean) == (3, 0, pytest.approx(0.91))
    assert first.sd == pytest.approx(0.01)
    assert first.values == pytest.approx({0: 0.9, 1: 0.91, 2: 0.92})


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        ("last", 0.9),
        ("best", 0.95),
        ("mean_last:2", 0.925),
        ("area", (0.6 / 2 + 0.95 + 0.9 / 2) / 2),
    ],
)
def test_a_reduction_selects_its_number(
    database: Database, study: str, reduction: str, expected: float
) -> None:
    finish_all(database)
    table = results.results(database, study, Question(reduction=reduction))
    assert table.rows[0].values[0] == pytest.approx(expected)


def test_failed_cells_are_counted_and_never_dropped(database: Database, study: str) -> None:
    finish_all(database, failing=("layer", 1))
    rows = results.results(database, study, Question()).rows
    assert [(r.n, r.failed) for r in rows] == [(3, 0), (3, 0), (2, 1), (2, 1)]
    assert rows[2].states == {0: "succeeded", 1: "failed", 2: "succeeded"}


def test_unfinished_cells_have_no_value(database: Database, study: str) -> None:
    rows = results.results(database, study, Question()).rows
    assert [(r.n, r.failed, r.mean) for r in rows] == [(0, 0, None)] * 4
    assert [r.without for r in rows] == [{"queued": 3}] * 4


def test_seeds_among_the_groups_give_one_row_per_job(database: Database, study: str) -> None:
    finish_all(database)
    rows = results.results(database, study, Question(), ["normalizer", "batch_size", "seed"]).rows
    assert len(rows) == 12
    assert all(r.n == 1 for r in rows)


def test_cells_without_a_value_are_counted_by_their_state(database: Database, study: str) -> None:
    finish_all(database, failing=("layer", 1))
    with database.begin() as connection:
        connection.execute(
            text("""
            update job set state = 'cancelled' where normalizer = 'batch' and seed = 0;
        """)
        )
        connection.execute(
            text("""
            update study_cell set pruned = true from job
            where job.id = study_cell.job and job.normalizer = 'batch'
                and job.batch_size = 2 and job.seed = 0
        """)
        )
        connection.execute(
            text("""
            update metric_last set value = 'NaN' from job
            where job.id = metric_last.job and job.normalizer = 'layer'
                and job.batch_size = 2 and job.seed = 2
        """)
        )
    rows = results.results(database, study, Question()).rows
    assert [(r.n, r.failed, r.without) for r in rows] == [
        (2, 0, {"cancelled": 1}), (2, 0, {"pruned": 1}),
        (2, 1, {"failed": 1}), (1, 1, {"failed": 1, "NaN": 1}),
    ]  # fmt: skip
    assert rows[3].excluded == {2: "NaN"}
    assert rows[1].states[0] == "pruned"
    cells = details.get(database, study).grid
    assert [cell.state for cell in cells].count("pruned") == 1


def test_rows_have_the_digits_that_their_intervals_allow(database: Database, study: str) -> None:
    finish_all(database)
    rows = results.results(database, study, Question()).rows
    assert [(r.mean_text, r.half_text) for r in rows[:2]] == [
        ("0.910", "0.025"),
        ("0.710", "0.025"),
    ]


def test_a_paired_comparison_removes_the_seeds(database: Database, study: str) -> None:
    finish_all(database)
    table = comparisons.compare(database, study, Question(), "normalizer", "batch", "layer")
    large, small = table.rows
    assert large.labels == {"batch_size": "32"}
    assert (large.n, large.difference) == (3, pytest.approx(0.1))
    assert large.high is not None
    assert large.high - large.difference < 1e-9
    assert small.difference == pytest.approx(-0.1)


def test_the_error_for_an_unknown_metric_names_the_nearest(database: Database, study: str) -> None:
    finish_all(database)
    with pytest.raises(InvalidSpec, match="the nearest are val/accuracy"):
        results.results(database, study, Question(metric="val/acuracy"))


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda d, s: results.results(d, s, Question(), ["epochs"]), "one of normalizer, batch"),
        (lambda d, s: results.results(d, s, Question(reduction="first")), "one of last, best"),
        (
            lambda d, s: comparisons.compare(d, s, Question(), "normalizer", "batch", "x"),
            "one of batch",
        ),
        (lambda d, s: comparisons.compare(d, s, Question(), "normalizer", "batch", "layer"), "yet"),
    ],
)
def test_questions_without_an_answer_are_refused_with_the_reason(
    database: Database, study: str, call: Any, rule: str
) -> None:
    with pytest.raises(InvalidSpec, match=rule):
        call(database, study)


def test_an_unknown_study_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound):
        results.results(database, "nope", Question())


def test_the_speed_of_an_emulation_is_kept_out_of_the_comparison(database: Database) -> None:
    axes: dict[str, list[Any]] = {"normalizer": ["batch", "layer"]}
    spec = StudySpec.model_validate({"name": "s", "axes": axes, "seeds": 1})
    study = studies.create(
        database, spec, owner="ada", place=lambda _: ("ipu", "test"), check=lambda _: []
    )[0].id
    while (claim := leases.claim(database, "ipu", "w", 30)) is not None:
        emulated = claim.spec.normalizer.model_dump()["kind"] == "layer"
        series = Series(steps=[1], values=[0.5], times=[time.time()])
        names = ("val/accuracy", "train/images_per_s", "time/epoch_s")
        events: list[Any] = [
            Started(step=0, environment={"timing_valid": not emulated}),
            Metrics(series=dict.fromkeys(names, series)),
        ]
        reports.keep_all(database, claim, events)
        leases.finish(database, claim, Finished(step=1, summary={}))

    accuracies = results.results(database, study, Question())
    assert [row.n for row in accuracies.rows] == [1, 1]
    for metric in ("train/images_per_s", "time/epoch_s"):
        real, emulation = results.results(database, study, Question(metric=metric)).rows
        assert (real.n, real.mean) == (1, 0.5)
        assert (emulation.n, emulation.mean, emulation.states) == (0, None, {0: "emulated"})
