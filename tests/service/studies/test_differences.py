"""All rows of a study against a reference: paired by seed, tested as one family."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from normlab.errors import InvalidSpec
from normlab.events import Finished, Series
from normlab.presentation.paired_tests import holm, paired_t
from normlab.specs.jobs import JobSpec
from service.jobs import leases
from service.results import metric_reports
from service.store.database import Database
from service.studies.cell_values import Question
from service.studies.comparisons import compare
from service.studies.differences import differences
from tests.service.finishing import made

LEVEL = {"batch": 0.7, "layer": 0.8, "group": 0.705}
NOISE = [0.0, 0.011, -0.004, 0.007]


def value(spec: JobSpec) -> float:
    """A level by the kind, what seeds have in common, and noise of each cell."""
    kind = spec.normalizer.kind
    own = NOISE[(spec.seed * (1 + list(LEVEL).index(kind)) + spec.batch_size) % len(NOISE)]
    return LEVEL[kind] - 0.1 / spec.batch_size + spec.seed / 10 + own


def finish(database: Database, of: Callable[[JobSpec], float] = value) -> None:
    while (claim := leases.claim(database, "cpu", "w", 30)) is not None:
        series = Series(steps=[1], values=[of(claim.spec)], times=[0.0])
        with database.begin() as connection:
            metric_reports.append(connection, claim, {"val/accuracy": series})
        leases.finish(database, claim, Finished(step=1, summary={}))


GRID: dict[str, Any] = {
    "name": "s",
    "axes": {"normalizer": ["batch", "layer", "group"], "batch_size": [32, 2]},
    "seeds": 4,
}


def test_seeds_and_rows_that_are_not_finite_are_named(database: Database) -> None:
    study = made(database, GRID)

    def of(spec: JobSpec) -> float:
        if spec.batch_size == 2 and spec.normalizer.kind == "layer":
            return math.nan
        broke = spec.batch_size == 32 and spec.normalizer.kind == "group" and spec.seed == 1
        return math.inf if broke else value(spec)

    finish(database, of)
    found = differences(database, study, Question(), "normalizer", "batch")
    assert [(row.n, row.excluded) for row in found.rows] == [(4, {}), (3, {1: "Infinity"}), (4, {})]
    assert found.left_out == ["normalizer layer, batch_size 2: 4 NaN"]
    compared = compare(database, study, Question(), "normalizer", "layer", "batch")
    assert [row.n for row in compared.rows] == [4]
    assert compared.left_out == found.left_out


def test_each_row_has_its_difference_from_the_row_that_is_equal_otherwise(
    database: Database,
) -> None:
    study = made(database, GRID)
    finish(database)
    found = differences(database, study, Question(), "normalizer", "batch")
    assert [(r.labels["normalizer"], r.labels["batch_size"], r.n) for r in found.rows] == [
        ("layer", "32", 4), ("layer", "2", 4), ("group", "32", 4), ("group", "2", 4),
    ]  # fmt: skip
    by_seed = [
        [
            value(JobSpec(normalizer=kind, batch_size=size, seed=s))
            - value(JobSpec(normalizer="batch", batch_size=size, seed=s))
            for s in range(4)
        ]
        for kind in ("layer", "group")
        for size in (32, 2)
    ]
    assert [r.mean for r in found.rows] == pytest.approx([sum(d) / 4 for d in by_seed])
    ps = [paired_t(d) for d in by_seed]
    assert [r.p for r in found.rows] == pytest.approx(ps)
    assert [r.p_adjusted for r in found.rows] == pytest.approx(holm(ps))
    assert all(r.low < r.mean < r.high for r in found.rows if r.low is not None)


def test_a_chosen_value_of_another_axis_makes_a_smaller_family(database: Database) -> None:
    study = made(database, GRID)
    finish(database)
    whole = differences(database, study, Question(), "normalizer", "batch")
    some = differences(database, study, Question(), "normalizer", "batch", {"batch_size": "2"})
    kept = [r for r in whole.rows if r.labels["batch_size"] == "2"]
    assert [(r.labels, r.mean, r.p) for r in some.rows] == [(r.labels, r.mean, r.p) for r in kept]
    assert [r.p_adjusted for r in some.rows] == pytest.approx(holm([r.p for r in kept]))


def test_what_is_linked_with_the_axis_moves_with_it(database: Database) -> None:
    axes = [{"batch_size": [32, 2], "epochs": [4, 1]}, {"normalizer": ["batch", "layer"]}]
    study = made(database, {"name": "s", "axes": axes, "seeds": 2})
    finish(database)
    found = differences(database, study, Question(), "batch_size", "32")
    assert (found.linked, found.against) == (["epochs"], "32")
    assert [(r.labels["normalizer"], r.labels["epochs"]) for r in found.rows] == [
        ("batch", "1"), ("layer", "1"),
    ]  # fmt: skip


def test_one_seed_in_common_has_a_difference_but_no_test(database: Database) -> None:
    study = made(database, {**GRID, "seeds": 1})
    finish(database)
    for row in differences(database, study, Question(), "normalizer", "batch").rows:
        assert (row.n, row.low, row.p, row.p_adjusted) == (1, None, None, None)


def test_a_reference_that_the_study_does_not_have_is_refused(database: Database) -> None:
    study = made(database, GRID)
    finish(database)
    with pytest.raises(
        InvalidSpec, match="normalizer has no value 'online': use one of batch, layer"
    ):
        differences(database, study, Question(), "normalizer", "online")
    with pytest.raises(InvalidSpec, match="does not vary 'epochs'"):
        differences(database, study, Question(), "epochs", "1")
