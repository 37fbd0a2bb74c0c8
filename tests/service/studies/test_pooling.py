"""A mean of results is only over seeds, however the cells of a study differ."""

from __future__ import annotations

import pytest

from normlab.errors import InvalidSpec
from normlab.specs.studies import StudySpec
from service.store.database import Database
from service.studies import comparisons, results, studies
from service.studies.cell_values import Question
from tests.service.finishing import finish_all, made


@pytest.fixture
def study(database: Database) -> str:
    axes = {"normalizer": ["batch", "layer"], "batch_size": [32, 2]}
    return made(database, {"name": "s", "axes": axes, "seeds": 3})


@pytest.mark.parametrize("paths", [["normalizer"], ["seed"], ["normalizer", "seed"], []])
def test_rows_that_would_pool_an_axis_are_refused_with_its_name_and_advice(
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
def test_the_error_for_an_unknown_choice_names_the_known_ones(
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


def test_linked_paths_are_one_choice(database: Database) -> None:
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


def test_a_comparison_along_linked_paths_names_the_other_paths(database: Database) -> None:
    study = made(database, DOCUMENTED)
    finish_all(database)
    found = comparisons.compare(database, study, Question(), "batch_size", "32", "2")
    assert (found.linked, [r.labels for r in found.rows]) == (["epochs"], [{"normalizer": "layer"}])
    assert found.rows[0].difference == pytest.approx(0.0)


def test_cells_with_another_base_are_not_pooled_into_one_row(
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
