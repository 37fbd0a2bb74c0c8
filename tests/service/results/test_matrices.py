"""What diagnostics measured, as matrices of layers by readings."""

from __future__ import annotations

import math

import numpy as np
import pytest

from normlab.errors import NotFound
from normlab.events import Diagnostic, Failed, Metrics, Series, Started
from normlab.records import DiagnosticRecord
from service.jobs import leases
from service.results import diagnostics, matrices, reports
from service.store.database import Database
from tests.service.work import claim, series, submit

_POWER = "power/{}/norm/channel_mean"


def test_each_measure_is_a_matrix_with_its_layers_by_name(database: Database) -> None:
    job = submit(database)
    told = {_POWER.format("10.norm"): series(5, 10, value=0.25), "train/loss": series(1)}
    told[_POWER.format("2.norm")] = Series(steps=[5, 10], values=[0.5, math.nan], times=[1, 2])
    told["landscape/beta"] = series(10)
    assert reports.keep_all(database, claim(database), [Metrics(series=told)])
    beta, power = matrices.read(database, job.id, 100)
    assert (power.diagnostic, power.measure) == ("power", "norm/channel_mean")
    assert power.sites == ["2.norm", "10.norm"]
    assert power.steps.tolist() == [5, 10]
    np.testing.assert_array_equal(power.values, [[0.5, math.nan], [0.25, 0.25]])
    assert power.not_finite == {"/values/0/1": "NaN"}
    assert (beta.diagnostic, beta.sites, beta.values.tolist()) == ("landscape", [""], [[0.5]])


def test_a_layer_without_a_reading_has_a_gap(database: Database) -> None:
    submitted = submit(database)
    told = {"step_size/a/turn": series(1, 2), "step_size/b/turn": series(2)}
    assert reports.keep_all(database, claim(database), [Metrics(series=told)])
    (turns,) = matrices.read(database, submitted.id, 100)
    assert np.isnan(turns.values).tolist() == [[False, False], [True, False]]
    assert turns.not_finite == {}


def test_norms_of_weights_that_are_infinite_or_no_numbers_are_named(database: Database) -> None:
    submitted = submit(database)
    norms = {"c": [1.0, math.inf], "a.b": [math.nan, 1.0]}
    told = Diagnostic(name="weight_norms", step=1, record={"norms": norms})
    assert reports.keep_all(database, claim(database), [told])
    smallest, mean, largest = matrices.of_norms(diagnostics.read_all(database, submitted.id))
    assert smallest.not_finite == {"/values/1/0": "NaN"}
    assert (
        mean.not_finite == largest.not_finite == {"/values/0/0": "Infinity", "/values/1/0": "NaN"}
    )


def test_many_readings_become_buckets_with_their_means(database: Database) -> None:
    submitted = submit(database)
    steps = list(range(1, 101))
    told = {"step_size/a/turn": Series(steps=steps, values=steps, times=steps)}
    assert reports.keep_all(database, claim(database), [Metrics(series=told)])
    (turns,) = matrices.read(database, submitted.id, 10)
    assert turns.steps.tolist() == list(range(1, 101, 10))
    assert turns.values[0, 0] == pytest.approx(5.5)


def test_what_a_lost_attempt_measured_beyond_its_checkpoint_does_not_count(
    database: Database,
) -> None:
    submitted = submit(database)
    lost = claim(database)
    told = [Started(step=0, environment={}), Metrics(series={"step_size/a/turn": series(1, 2, 3)})]
    assert reports.keep_all(database, lost, told)
    gone = Failed(code="worker_lost", failure_kind="lost", retryable=True, message="gone")
    leases.fail(database, lost, gone)
    again = [Metrics(series={"step_size/a/turn": series(2, value=0.75)})]
    second = claim(database)
    assert reports.keep_all(database, second, [Started(step=1, environment={}), *again])
    (turns,) = matrices.read(database, submitted.id, 100)
    assert (turns.steps.tolist(), turns.values.tolist()) == ([1, 2], [[0.5, 0.75]])


def test_recorded_norms_become_the_extremes_and_the_mean_of_each_layer(database: Database) -> None:
    job = submit(database)
    told = [
        Diagnostic(name="weight_norms", step=s, record={"epoch": 0, "norms": {"a": [s, 3.0 * s]}})
        for s in (5, 10)
    ]
    assert reports.keep_all(database, claim(database), told)
    found = {m.measure: m for m in matrices.of_norms(diagnostics.read_all(database, job.id))}
    assert found["mean"].values.tolist() == [[10.0, 20.0]]
    assert (found["smallest"].values[0, 1], found["largest"].values[0, 1]) == (10.0, 30.0)


def test_norms_that_an_earlier_version_stored_as_null_are_called_nan() -> None:
    stored = DiagnosticRecord(name="weight_norms", step=1, record={"norms": {"a": [None, 2.0]}})
    for found in matrices.of_norms([stored]):
        assert np.isnan(found.values).all()
        assert found.not_finite == {"/values/0/0": "NaN"}


def test_nothing_measured_is_nothing(database: Database) -> None:
    assert matrices.read(database, submit(database).id, 100) == []
    assert matrices.of_norms([]) == []
    with pytest.raises(NotFound):
        matrices.read(database, "nobody", 100)
