from __future__ import annotations

import numpy as np

from normlab.events import Failed, Metrics, Series, Started
from service.jobs import leases
from service.results import many_curves, metrics, reports
from service.store.database import Database
from tests.service.work import claim, series, submit

LOST = Failed(code="worker_lost", failure_kind="lost", retryable=True, message="gone")


def test_curves_of_many_jobs_are_those_of_each_alone(database: Database) -> None:
    jobs = [submit(database).id for _ in range(3)]
    gaps = Series(steps=[1, 5, 6, 9], values=[4.0, 3.0, 2.0, 1.0], times=[7.0, 8.5, 9.0, 11.25])
    for points in (series(*range(1, 301)), gaps):
        assert reports.keep_all(database, claim(database), [Metrics(series={"val/loss": points})])
    held = claim(database)
    assert reports.keep_all(database, held, [Metrics(series={"val/loss": series(1, 2, 3, 4)})])
    leases.fail(database, held, LOST)
    again = claim(database)
    assert reports.keep_all(database, again, [Started(step=2, environment={})])
    assert reports.keep_all(database, again, [Metrics(series={"val/loss": series(3, 4, 5)})])
    found = many_curves.read(database, jobs, jobs, "val/loss", 1, 200, 50)
    for job, curve in zip(jobs, found, strict=True):
        alone = metrics.read_arrays(database, job, "val/loss", 1, 200, 50)
        assert all(np.array_equal(curve[field], alone[field]) for field in alone)
    without = many_curves.read(database, jobs, jobs, "val/loss", 1, 200, 50, times=False)
    for curve, other in zip(found, without, strict=True):
        assert len(other["times"]) == 0
        assert all(np.array_equal(curve[field], other[field]) for field in curve.keys() - {"times"})
    assert [curve["points"] for curve in found] == [200, 4, 5]


def test_a_job_out_of_sight_is_as_one_without_the_metric(database: Database) -> None:
    shown, hidden, silent = (submit(database).id for _ in range(3))
    for _ in range(2):
        report = [Metrics(series={"val/loss": series(1, 2)})]
        assert reports.keep_all(database, claim(database), report)
    asked = [silent, hidden, "nothing", shown]
    found = many_curves.read(database, asked, [shown, silent, "nothing"], "val/loss")
    assert [curve["points"] for curve in found] == [0, 0, 0, 2]


def test_a_range_without_points_still_has_the_last_value_of_a_curve(database: Database) -> None:
    job = submit(database).id
    report = [Metrics(series={"val/loss": series(1, 2)})]
    assert reports.keep_all(database, claim(database), report)
    (curve,) = many_curves.read(database, [job], [job], "val/loss", 10, 20)
    assert (curve["points"], curve["last"]["step"]) == (0, 2)
