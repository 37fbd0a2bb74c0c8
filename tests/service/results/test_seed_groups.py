from __future__ import annotations

import math
from typing import Any

import pytest

from normlab.errors import InvalidSpec
from normlab.records.tables import GroupQuestion, GroupTable
from service.results import seed_groups
from service.store.database import Database
from tests.service.jobs.test_table import report
from tests.service.work import submit


def run(database: Database, value: float, **fields: Any) -> str:
    submit(database, **fields)
    return report(database, {"val/accuracy": [value]})


def grouped(database: Database, *columns: str, **asked: Any) -> GroupTable:
    return seed_groups.table(database, GroupQuestion(columns=list(columns), **asked))


def test_a_mean_is_over_seeds_and_over_nothing_else(database: Database) -> None:
    for seed, value in enumerate([0.5, 0.7, 0.6]):
        run(database, value, seed=seed, name=f"run {seed}", priority=seed)
    run(database, 0.1, seed=0, optimizer={"lr": 0.3})
    found = grouped(database, "normalizer", "val/accuracy", "seed")
    other, three = found.rows
    assert (three.seeds, other.seeds) == ([0, 1, 2], [0])
    assert three.values[0] == "batch"
    assert (three.values[1].n, three.values[1].mean) == (3, pytest.approx(0.6))
    assert three.values[1].sd == pytest.approx(0.1)
    assert three.values[2] == {"varies": [0, 1, 2]}
    assert (other.values[1].mean, other.values[1].low) == (0.1, None)
    # as in the table of a study: 4.3027 * 0.1 / sqrt(3) = 0.248, to whose second digit
    assert (three.values[1].mean_text, three.values[1].half_text) == ("0.60", "0.25")
    assert (other.values[1].mean_text, other.values[1].half_text) == ("0.1000", "")


def test_a_mean_leaves_out_what_is_not_finite_and_names_it(database: Database) -> None:
    for seed, value in enumerate([0.5, math.nan, 0.7, -math.inf]):
        run(database, value, seed=seed)
    run(database, math.nan, seed=0, epochs=2)
    submit(database, epochs=3)
    none, never, some = (row.values[0] for row in grouped(database, "val/accuracy").rows)
    assert (some.n, some.mean, some.excluded) == (
        2, pytest.approx(0.6), {1: "NaN", 3: "-Infinity"},
    )  # fmt: skip
    assert (never.n, never.mean, never.mean_text) == (0, None, "NaN")
    assert none is None


def test_fields_that_differ_where_the_columns_look_alike_are_named(database: Database) -> None:
    run(database, 0.5)
    run(database, 0.6, optimizer={"lr": 0.3}, name="another", seed=1)
    run(database, 0.7, normalizer={"kind": "group", "groups": 2})
    found = grouped(database, "name", "normalizer", "val/accuracy", "seed", "created_at")
    assert found.differing == {"optimizer.lr": [0.1, 0.3]}
    assert grouped(database, "normalizer", "optimizer.lr").differing == {}


def test_only_succeeded_jobs_have_values_and_the_newest_of_a_seed_counts(
    database: Database,
) -> None:
    run(database, 0.1, seed=0)
    run(database, 0.5, seed=0)
    submit(database, seed=1)
    report(database, {"val/accuracy": [0.9]}, end=False)
    (row,) = grouped(database, "val/accuracy").rows
    assert (row.values[0].n, row.values[0].mean) == (1, 0.5)
    assert (row.states, len(row.jobs)) == ({"succeeded": 2, "running": 1}, 3)


def test_more_jobs_than_can_be_grouped_are_refused_with_the_way_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seed_groups, "MOST_JOBS", 2)
    for seed in range(3):
        submit(database, seed=seed)
    with pytest.raises(InvalidSpec, match=r"more than 2 jobs.*narrow the filter"):
        grouped(database, "name")
    assert len(grouped(database, "name", filter="seed > 0").rows) == 1
