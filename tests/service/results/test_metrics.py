from __future__ import annotations

import math

import numpy as np
import pytest
from sqlalchemy import text

from normlab.errors import InvalidSpec, NotFound
from normlab.events import Failed, Metrics, Series, Started
from normlab.records.tables import TableQuestion
from service.jobs import leases, reading, table
from service.jobs.leases import Lease
from service.results import metrics, reports
from service.results.adding_up import AddingUp
from service.store.database import Database
from tests.counted_calls import calls_of
from tests.service.work import claim, series, submit

LOST = Failed(code="worker_lost", failure_kind="lost", retryable=True, message="gone")


def _report(database: Database, held: Lease, **named: Series) -> None:
    said = {name.replace("_", "/"): points for name, points in named.items()}
    assert reports.keep_all(database, held, [Metrics(series=said)])


def _again(database: Database, held: Lease, step: int) -> Lease:
    leases.fail(database, held, LOST)
    next_one = claim(database)
    assert reports.keep_all(database, next_one, [Started(step=step, environment={})])
    return next_one


def test_reported_points_are_read_back(database: Database) -> None:
    job = submit(database)
    held = claim(database)
    loss = Series(steps=[1, 2, 3], values=[2.0, 1.0, 0.5], times=[10.0, 11.0, 12.0])
    _report(database, held, train_loss=loss, val_loss=series(3))
    found = metrics.read(database, job.id, "train/loss")
    assert (found.steps, found.values, found.times) == (loss.steps, loss.values, loss.times)
    assert (found.points, found.min) == (3, None)


def test_a_range_of_steps_has_its_bounds_in_it(database: Database) -> None:
    job = submit(database)
    held = claim(database)
    for first in (1, 11, 21):
        _report(database, held, train_loss=series(*range(first, first + 10)))
    assert metrics.read(database, job.id, "train/loss", 9, 12).steps == [9, 10, 11, 12]
    assert metrics.read(database, job.id, "train/loss", 40).steps == []
    assert metrics.read(database, job.id, "train/loss", -5, 10**12).points == 30


@pytest.mark.parametrize("cut", [[(1, 10)], [(1, 4), (5, 10)], [(1, 7), (3, 10)], [(1, 12)]])
def test_points_sent_again_are_stored_once_even_if_split_differently(
    database: Database, cut: list[tuple[int, int]]
) -> None:
    job = submit(database)
    held = claim(database)
    _report(database, held, train_loss=series(*range(1, 9)))
    for first, last in cut:
        _report(database, held, train_loss=series(*range(first, last + 1)))
    assert metrics.read(database, job.id, "train/loss").steps == list(range(1, cut[-1][1] + 1))


def test_the_current_state_of_a_metric_is_its_last_value_and_its_extremes(
    database: Database,
) -> None:
    job = submit(database)
    held = claim(database)
    for step, value in enumerate([0.5, 0.9, math.nan, 0.7], 1):
        _report(database, held, val_accuracy=series(step, value=value))
    stands = metrics.names(database, job.id)["val/accuracy"]
    assert (stands.step, stands.value, stands.min, stands.max) == (4, 0.7, 0.5, 0.9)
    with database.begin() as connection:
        at = connection.execute(text("select min_step, max_step from metric_last")).one()
    assert tuple(at) == (1, 2)


def test_values_that_are_not_finite_are_null_and_named_and_affect_no_other_point(
    database: Database,
) -> None:
    job = submit(database)
    held = claim(database)
    values = [1.0, math.nan, math.inf, -math.inf]
    _report(database, held, train_loss=Series(steps=[1, 2, 3, 4], values=values, times=[0.0] * 4))
    found = metrics.read(database, job.id, "train/loss")
    assert found.values == [1.0, None, None, None]
    named = {"/values/1": "NaN", "/values/2": "Infinity", "/values/3": "-Infinity"}
    assert found.not_finite == named
    assert str(found.numbers()) == str(values)
    for last in (
        found.last,
        metrics.names(database, job.id)["train/loss"],
        reading.get(database, job.id).last["train/loss"],
    ):
        assert last is not None
        assert (last.value, last.min, last.max) == (None, None, None)
        assert [last.number(of) for of in ("value", "min", "max")] == [-math.inf] * 2 + [math.inf]


def test_a_metric_that_was_never_a_number_keeps_its_kind(database: Database) -> None:
    job = submit(database)
    _report(database, claim(database), train_loss=series(1, 2, value=math.nan))
    last = reading.get(database, job.id).last["train/loss"]
    assert last.not_finite == {"/value": "NaN", "/min": "NaN", "/max": "NaN"}


def test_buckets_name_the_infinity_in_them(database: Database) -> None:
    job = submit(database)
    values = [1.0, math.inf, 1.0, math.nan]
    _report(database, claim(database), train_loss=_points([1, 2, 3, 4], values))
    found = metrics.read(database, job.id, "train/loss", max_points=2)
    assert found.not_finite == {"/values/0": "Infinity", "/max/0": "Infinity"}
    assert (found.values, found.min, found.max) == ([None, 1.0], [1.0, 1.0], [None, 1.0])


def test_a_resumed_attempt_replaces_what_came_after_its_checkpoint(database: Database) -> None:
    job = submit(database)
    held = claim(database)
    _report(database, held, train_loss=series(*range(1, 9), value=9.0))
    held = _again(database, held, 5)
    assert metrics.read(database, job.id, "train/loss").steps == [1, 2, 3, 4, 5]
    assert metrics.names(database, job.id)["train/loss"].step == 5
    _report(database, held, train_loss=series(6, 7, value=1.0))
    found = metrics.read(database, job.id, "train/loss")
    assert found.steps == [1, 2, 3, 4, 5, 6, 7]
    assert found.values == [9.0] * 5 + [1.0] * 2


def test_an_attempt_from_the_beginning_resets_all_metrics(database: Database) -> None:
    job = submit(database)
    held = claim(database)
    _report(database, held, train_loss=series(1, 2, 3, value=9.0))
    held = _again(database, held, 0)
    assert metrics.names(database, job.id) == {}
    _report(database, held, train_loss=series(1, value=1.0))
    assert metrics.names(database, job.id)["train/loss"].max == 1.0


def test_extremes_of_abandoned_steps_are_forgotten(database: Database) -> None:
    job = submit(database)
    held = claim(database)
    values = [0.1, 0.2, 0.99]
    _report(database, held, val_accuracy=Series(steps=[1, 2, 3], values=values, times=[0.0] * 3))
    _again(database, held, 2)
    assert metrics.names(database, job.id)["val/accuracy"].max == 0.2


def test_a_long_series_is_thinned_out_to_the_requested_length(database: Database) -> None:
    job = submit(database)
    held = claim(database)
    n = 10_000
    values = np.sin(np.arange(n) / 100).tolist()
    _report(database, held, train_loss=Series(steps=list(range(n)), values=values, times=[0.0] * n))
    found = metrics.read(database, job.id, "train/loss", max_points=100)
    assert found.min is not None
    assert found.max is not None
    assert (len(found.steps), found.points) == (100, n)
    assert found.values[3] == pytest.approx(np.mean(values[300:400]))
    assert (found.min[3], found.max[3]) == (min(values[300:400]), max(values[300:400]))


def test_a_short_series_is_returned_unchanged(database: Database) -> None:
    job = submit(database)
    _report(database, claim(database), train_loss=series(1, 2, 3))
    assert metrics.read(database, job.id, "train/loss", max_points=3).max is None


def test_an_unknown_metric_is_not_found_and_the_nearest_are_named(database: Database) -> None:
    job = submit(database)
    _report(database, claim(database), train_loss=series(1), val_accuracy=series(1))
    with pytest.raises(NotFound, match="train/loss"):
        metrics.read(database, job.id, "train/los")
    other = submit(database)
    with pytest.raises(NotFound, match="reported nothing yet"):
        metrics.read(database, other.id, "train/loss")


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_an_invalid_metric_name_is_refused(database: Database, name: str) -> None:
    submit(database)
    held = claim(database)
    with pytest.raises(InvalidSpec, match="1 to 200 characters"):
        reports.keep_all(database, held, [Metrics(series={name: series(1)})])


@pytest.mark.parametrize("points", [0, -1, 10**9])
def test_a_number_of_points_out_of_range_is_refused(database: Database, points: int) -> None:
    job = submit(database)
    with pytest.raises(InvalidSpec, match="max_points"):
        metrics.read(database, job.id, "train/loss", max_points=points)


def test_the_start_records_the_environment_of_the_job(database: Database) -> None:
    job = submit(database, device="ipu")
    environment = {"runtime": "host-emulation", "timing_valid": False, "torch": "2.13.0"}
    held = claim(database, "ipu")
    reports.keep_all(database, held, [Started(step=0, environment=environment)])
    found = reading.get(database, job.id)
    assert (found.runtime, found.timing_valid) == ("host-emulation", False)
    assert found.attempts[0].environment == environment


def test_a_job_that_was_in_a_pack_says_so_unless_it_began_anew(database: Database) -> None:
    job = submit(database)
    packed = {"runtime": "packed", "timing_valid": False, "packed": 8}
    alone = {"runtime": "cpu", "timing_valid": True}
    found = []
    for step, environment in [(0, packed), (20, alone), (0, alone)]:
        held = claim(database)
        reports.keep_all(database, held, [Started(step=step, environment=environment)])
        record = reading.get(database, job.id)
        found.append((record.packed, record.timing_valid))
        assert leases.release(database, held)
    assert found == [(8, False), (8, False), (None, True)]


def test_many_points_are_thinned_out_without_a_call_for_each(database: Database) -> None:
    job = submit(database)
    held = claim(database)
    for first in range(0, 100_000, 1000):
        steps = list(range(first, first + 1000))
        points = Series(steps=steps, values=np.cos(steps).tolist(), times=[0.0] * 1000)
        _report(database, held, train_loss=points)

    def read() -> int:
        return len(metrics.read(database, job.id, "train/loss", max_points=500).steps)

    assert read() == 500
    assert calls_of(read) < 10_000


def _points(steps: list[int], values: list[float]) -> Series:
    return Series(steps=steps, values=values, times=[float(step) for step in steps])


def _mean(database: Database, job: str) -> float | None:
    asked = TableQuestion(columns=["train/loss:mean"])
    found = table.read(database, asked)
    (row,) = [row for row in found.rows if str(row.id) == job]
    value: float | None = found.values(row)[0]
    return value


def test_the_mean_of_a_curve_counts_a_step_once_that_two_attempts_reported(
    database: Database,
) -> None:
    submit(database)
    held = claim(database)
    _report(database, held, train_loss=_points([1, 2, 3], [1, 2, 9]))
    held = _again(database, held, 2)
    _report(database, held, train_loss=_points([2, 3], [4, 4]))
    _report(database, held, train_loss=_points([4], [3]))
    curve = metrics.read_arrays(database, str(held.job), "train/loss")["values"]
    assert list(curve) == [1, 4, 4, 3]
    assert _mean(database, str(held.job)) == 3.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_mean_of_a_curve_with_a_value_that_is_not_finite_is_that(
    database: Database, bad: float
) -> None:
    submit(database)
    held = claim(database)
    _report(database, held, train_loss=_points([1, 2, 3], [1.0, bad, 3.0]))
    assert str(_mean(database, str(held.job))) == str(bad)


def test_curves_of_an_earlier_version_are_added_up_in_the_background(database: Database) -> None:
    submit(database)
    held = claim(database)
    _report(database, held, train_loss=_points([1, 2, 3], [1, 2, 6]))
    with database.begin() as connection:
        connection.execute(text("update metric_last set total = null, points = null"))
    assert _mean(database, str(held.job)) is None
    assert AddingUp(database).round() == 1
    assert _mean(database, str(held.job)) == 3.0
    assert AddingUp(database).round() == 0
