"""Results: one number a cell, grouped over seeds, with nothing dropped silently."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import text

from normlab.errors import InvalidSpec, NotFound
from normlab.events import Failed, Finished, Metrics, Series, Started
from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec
from service import comparisons, leases, metrics, reports, results, studies
from service.cell_values import Question
from service.database import Database

# Accuracy over three evaluations: by kind and batch, plus a hundredth a seed.
LEVEL = {("batch", 32): 0.9, ("batch", 2): 0.7, ("layer", 32): 0.8, ("layer", 2): 0.8}


def curve(spec: JobSpec) -> list[float]:
    kind = spec.normalizer.model_dump()["kind"]
    top = LEVEL[kind, spec.batch_size] + spec.seed / 100
    return [top - 0.3, top + 0.05, top]


def finish_all(database: Database, *, failing: tuple[str, int] | None = None) -> None:
    while (claim := leases.claim(database, "cpu", "w", 30)) is not None:
        kind = claim.spec.normalizer.model_dump()["kind"]
        if failing == (kind, claim.spec.seed):
            broken = Failed(code="x", failure_kind="user", retryable=False, message="broken")
            leases.fail(database, claim, broken)
            continue
        now = time.time()
        values = curve(claim.spec)
        series = Series(steps=[10, 20, 30], values=values, times=[now] * 3)
        with database.begin() as connection:
            metrics.append(connection, claim, {"val/accuracy": series})
        leases.finish(database, claim, Finished(step=30, summary={}))


@pytest.fixture
def study(database: Database) -> str:
    axes: dict[str, list[Any]] = {"normalizer": ["batch", "layer"], "batch_size": [32, 2]}
    spec = StudySpec.model_validate({"name": "s", "axes": axes, "seeds": 3})
    return studies.create(
        database, spec, owner="ada", place=lambda _: ("cpu", "test"), check=lambda _: []
    )[0].id


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
def test_a_reduction_picks_its_number(
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


def test_seeds_among_the_groups_give_a_row_a_job(database: Database, study: str) -> None:
    finish_all(database)
    rows = results.results(database, study, Question(), ["normalizer", "batch_size", "seed"]).rows
    assert len(rows) == 12
    assert all(r.n == 1 for r in rows)


@pytest.mark.parametrize("paths", [["normalizer"], ["seed"], ["normalizer", "seed"], []])
def test_rows_that_would_pool_an_axis_are_refused_by_its_name_with_the_way_out(
    database: Database, study: str, paths: list[str]
) -> None:
    finish_all(database)
    with pytest.raises(InvalidSpec, match=r"pool .*batch_size \(32, 2\)") as e:
        results.results(database, study, Question(), paths)
    assert e.value.problems[0].field == "group_by"
    assert "batch_size to group_by" in str(e.value)
    assert "batch_size=32" in str(e.value) or "normalizer=batch" in str(e.value)


def test_a_value_chosen_for_an_axis_makes_rows_of_the_others(
    database: Database, study: str
) -> None:
    finish_all(database)
    table = results.results(database, study, Question(), ["normalizer"], {"batch_size": "2"})
    assert [(r.labels, r.n, r.mean) for r in table.rows] == [
        ({"normalizer": "batch"}, 3, pytest.approx(0.71)),
        ({"normalizer": "layer"}, 3, pytest.approx(0.81)),
    ]
    assert table.where == {"batch_size": "2"}


@pytest.mark.parametrize(
    ("where", "rule"),
    [({"batch_size": "8"}, "one of 32, 2"), ({"epochs": "5"}, "one of normalizer, batch_size")],
)
def test_a_choice_that_the_study_does_not_have_names_what_it_has(
    database: Database, study: str, where: dict[str, str], rule: str
) -> None:
    with pytest.raises(InvalidSpec, match=rule) as e:
        results.results(database, study, Question(), None, where)
    assert e.value.problems[0].field == "where"


DOCUMENTED = {
    "name": "equal updates",
    "base": {"dataset": {"name": "digits"}},
    "axes": [{"batch_size": [32, 2], "epochs": [16, 1]}, {"normalizer": ["batch", "layer"]}],
    "exclude": [{"normalizer": "batch", "batch_size": [2]}],
    "seeds": [0, 1],
}


def made(database: Database, spec: dict[str, Any]) -> str:
    return studies.create(
        database,
        StudySpec.model_validate(spec),
        owner="ada",
        place=lambda _: ("cpu", "test"),
        check=lambda _: [],
    )[0].id


def test_paths_that_move_together_are_one_choice(database: Database) -> None:
    study = made(database, DOCUMENTED)
    finish_all(database)
    everything = results.results(database, study, Question())
    assert [(r.labels["batch_size"], r.labels["epochs"], r.labels["normalizer"], r.n)
            for r in everything.rows] == [
        ("32", "16", "batch", 2), ("32", "16", "layer", 2), ("2", "1", "layer", 2),
    ]  # fmt: skip
    by_one = results.results(database, study, Question(), ["epochs", "normalizer"])
    assert [(r.n, r.mean) for r in by_one.rows] == [(r.n, r.mean) for r in everything.rows]
    with pytest.raises(InvalidSpec, match=r"pool normalizer \(batch, layer\)"):
        results.results(database, study, Question(), ["batch_size", "epochs"])


def test_a_comparison_along_linked_paths_says_what_moves_with_them(database: Database) -> None:
    study = made(database, DOCUMENTED)
    finish_all(database)
    found = comparisons.compare(database, study, Question(), "batch_size", "32", "2")
    assert (found.linked, [r.labels for r in found.rows]) == (["epochs"], [{"normalizer": "layer"}])
    assert found.rows[0].difference == pytest.approx(0.0)


def test_cells_of_a_study_that_grew_by_another_base_are_no_seeds_of_one_row(
    database: Database,
) -> None:
    spec = {"name": "s", "axes": {"normalizer": ["batch"]}, "seeds": 2}
    study = made(database, {**spec, "base": {"epochs": 2}})
    grown = StudySpec.model_validate({**spec, "base": {"epochs": 4}})
    studies.extend(
        database, study, grown, owner="ada", place=lambda _: ("cpu", "test"), check=lambda _: []
    )
    finish_all(database)
    table = results.results(database, study, Question())
    assert [(r.labels, r.n) for r in table.rows] == [
        ({"normalizer": "batch", "epochs": "2"}, 2), ({"normalizer": "batch", "epochs": "4"}, 2),
    ]  # fmt: skip


def test_cells_keep_apart_when_their_axis_has_left_the_file(database: Database) -> None:
    axes = {"normalizer": ["batch"], "batch_size": [32, 2]}
    study = made(database, {"name": "s", "axes": axes})
    less = StudySpec.model_validate({"name": "s", "axes": {"normalizer": ["batch", "layer"]}})
    studies.extend(
        database, study, less, owner="ada", place=lambda _: ("cpu", "test"), check=lambda _: []
    )
    finish_all(database)
    rows = results.results(database, study, Question()).rows
    assert [(r.labels, r.n) for r in rows] == [
        ({"normalizer": "batch", "batch_size": "32"}, 1),
        ({"normalizer": "batch", "batch_size": "2"}, 1),
        ({"normalizer": "layer", "batch_size": "32"}, 1),
    ]


def test_two_spellings_of_one_value_are_one_row(database: Database) -> None:
    study = made(database, {"name": "s", "axes": {"normalizer": ["batch"]}, "seeds": 2})
    respelt = {"name": "s", "axes": {"normalizer": [{"kind": "batch"}]}, "seeds": 3}
    studies.extend(
        database, study, StudySpec.model_validate(respelt), owner="ada",
        place=lambda _: ("cpu", "test"), check=lambda _: [],
    )  # fmt: skip
    finish_all(database)
    assert [r.n for r in results.results(database, study, Question()).rows] == [3]


def test_cells_without_a_value_are_counted_by_what_they_are(database: Database, study: str) -> None:
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
        (2, 1, {"failed": 1}), (1, 1, {"failed": 1, "not finite": 1}),
    ]  # fmt: skip
    assert rows[1].states[0] == "pruned"
    cells = studies.get(database, study).grid
    assert [cell.state for cell in cells].count("pruned") == 1


def test_the_rows_have_the_digits_that_tell_them_apart(database: Database, study: str) -> None:
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


def test_a_metric_that_nobody_reported_names_the_nearest(database: Database, study: str) -> None:
    finish_all(database)
    with pytest.raises(InvalidSpec, match="nearest: val/accuracy"):
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
def test_questions_without_an_answer_say_why(
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
