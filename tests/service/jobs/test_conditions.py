"""The filter language finds the jobs that it describes, and never reaches SQL as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from normlab.errors import FilterTooCostly, InvalidSpec
from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec
from service.jobs import changes, listing, submissions
from service.jobs.conditions import condition
from service.jobs.filters import parse
from service.jobs.job_filters import JobFilters
from service.store.database import Database
from service.studies import studies
from service.studies.listing import list_studies


def submit(database: Database, name: str, accuracy: float | None = None, **fields: Any) -> None:
    spec = JobSpec.model_validate({"normalizer": "batch", "name": name, **fields})
    record, _ = submissions.submit(database, spec, owner="ada", device="cpu", device_reason="test")
    if accuracy is not None:
        with database.begin() as connection:
            connection.execute(
                text("insert into metric_key (name) values ('val/accuracy') on conflict do nothing")
            )
            connection.execute(text(
                "insert into metric_last (job, key, attempt, step, value, min, min_step, max,"
                " max_step) select cast(:j as uuid), id, 1, 1, :v, :v, 1, :v, 1 from metric_key"
            ), {"j": record.id, "v": accuracy})  # fmt: skip


def found(database: Database, where: str) -> list[str]:
    page = listing.list_jobs(database, JobFilters(where=where), sort="name")
    return [job.name or "" for job in page.jobs]


@pytest.fixture
def three(database: Database) -> Database:
    submit(database, "a", 0.95, normalizer="online", batch_size=2)
    submit(database, "b", 0.85, normalizer={"kind": "group", "groups": 4, "proxy": True})
    submit(database, "c", batch_size=4, optimizer={"name": "adamw", "lr": 0.01})
    return database


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("normalizer = online and batch_size <= 4 and val/accuracy > 0.9", ["a"]),
        ("val/accuracy < 2", ["a", "b"]),
        ("not val/accuracy < 2", ["c"]),
        ("val/accuracy != 0.95", ["b"]),
        ("normalizer.groups = 4 or optimizer.name = adamw", ["b", "c"]),
        ("normalizer.proxy = true", ["b"]),
        ("proxy = false", ["a", "c"]),
        ("optimizer.lr = 0.1", ["a", "b"]),
        ("normalizer in (online, batch) and name != a", ["c"]),
        ("name ~ B", ["b"]),
        ("state = queued and owner = ada", ["a", "b", "c"]),
        ("failure_kind = oom", []),
        ("failure_kind != oom", ["a", "b", "c"]),
        ('name = "a\' or 1=1 --"', []),
        ("batch_size in (2, 4)", ["a", "c"]),
    ],
)
def test_a_filter_finds_the_jobs_that_it_describes(
    three: Database, where: str, names: list[str]
) -> None:
    assert found(three, where) == names


@pytest.fixture
def of_a_study(database: Database) -> Database:
    """Jobs of which each example in the documentation finds some and not others."""
    grid = {
        "name": "small batches",
        "axes": {"normalizer": [{"kind": "online", "proxy": True}], "batch_size": [2, 32]},
        "base": {"model": {"name": "convnet"}, "optimizer": {"name": "sgd", "lr": 0.1}},
    }
    spec = StudySpec.model_validate(grid)
    studies.create(
        database, spec, owner="ada", place=lambda one: ("cpu", "test"), check=lambda one: []
    )
    submit(database, "alone", 0.95, normalizer="online", batch_size=2, model={"name": "resnet20"})
    submit(database, "cancelled", model={"name": "resnet20"})
    (job,) = listing.list_jobs(database, JobFilters(name="cancelled")).jobs
    changes.cancel(database, job.id)
    return database


EXAMPLES = {
    "normalizer = online and batch_size <= 4 and val/accuracy > 0.9": 1,
    "state in (failed, cancelled) or failure_kind = oom": 1,
    "not (model ~ resnet) and optimizer.lr >= 0.05": 2,
    'study = "small batches" and batch_size = 2': 1,
    'name = "small batches" and normalizer.proxy = true': 2,
}


def test_the_examples_are_those_of_the_documentation() -> None:
    page = (Path(__file__).parents[3] / "docs" / "studies.md").read_text()
    assert page.partition("```filter\n")[2].partition("```")[0].splitlines() == list(EXAMPLES)


@pytest.mark.parametrize("where", EXAMPLES)
def test_every_example_of_the_documentation_finds_its_jobs(
    of_a_study: Database, where: str
) -> None:
    assert len(found(of_a_study, where)) == EXAMPLES[where]


def test_a_study_is_found_by_its_id_and_by_its_name(of_a_study: Database) -> None:
    (study,) = list_studies(of_a_study).studies
    assert len(found(of_a_study, f"study = {study.id}")) == study.cells == 2
    assert len(found(of_a_study, "study ~ SMALL")) == 2
    assert listing.list_jobs(of_a_study, JobFilters(name="Small")).jobs


@pytest.mark.parametrize(
    ("where", "rule"),
    [
        ("batchsize = 2", "the nearest are batch_size"),
        ("batch_size = two", "takes a number, found 'two'"),
        ("proxy = 1", "true or false"),
        ("normalizer = 4", "takes a text"),
        ("batch_size ~ 2", "part of a text"),
        ("idempotency_key = x", "no such field"),
        ("optimizer.rate > 0.1", "the nearest are .*optimizer.lr"),
    ],
)
def test_a_condition_that_no_job_can_meet_is_refused(
    database: Database, where: str, rule: str
) -> None:
    with pytest.raises(InvalidSpec, match=rule):
        found(database, where)


def test_a_metric_that_is_nan_is_greater_than_no_number(three: Database) -> None:
    submit(three, "d", float("nan"))
    assert found(three, "val/accuracy > 0.9") == ["a"]


@pytest.mark.parametrize(
    "where",
    [
        " or ".join(["val/accuracy > 0"] * 6),
        " or ".join(["name ~ x"] * 20),
        " and ".join(["optimizer.lr = 1"] * 16),
        " or ".join(["name = x"] * 16),
        " or ".join(["study = x"] * 16),
        " and ".join(["seed = 1"] * 61),
    ],
)
def test_a_filter_that_costs_too_much_is_refused(where: str) -> None:
    with pytest.raises(FilterTooCostly, match="at most 60"):
        condition(parse(where))


def test_a_filter_that_nests_too_deeply_is_refused() -> None:
    condition(parse("not " * 16 + "seed = 1"))
    with pytest.raises(FilterTooCostly, match="16 levels"):
        condition(parse("not " * 17 + "seed = 1"))


def test_many_values_of_one_field_cost_one_comparison() -> None:
    values = ", ".join(str(n) for n in range(300))
    said = str(condition(parse(f"val/accuracy in ({values})")))
    assert said.count("metric_last") == str(condition(parse("val/accuracy = 1"))).count(
        "metric_last"
    )


def test_values_of_several_types_are_compared_by_their_types(database: Database) -> None:
    submit(database, "a", optimizer={"name": "sgd", "nesterov": True})
    submit(database, "b")
    assert found(database, "optimizer.nesterov in (x, 3, true)") == ["a"]
