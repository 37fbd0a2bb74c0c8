"""A search proposes, prunes, and continues after a restart as if nothing had happened."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from normlab.errors import FieldProblem, InvalidSpec
from normlab.events import Finished, Metrics, Series, Started
from normlab.records import StudyRecord
from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec
from service.jobs import leases
from service.jobs.leases import Lease
from service.results import metric_reports, reports
from service.store.database import Database
from service.studies import details, studies
from service.studies.listing import list_studies
from service.studies.searches import Searcher, trials_of

SPACE: dict[str, Any] = {"optimizer.lr": {"low": 1e-4, "high": 1.0, "log": True}}


def place(spec: JobSpec) -> tuple[str, str]:
    return "cpu", "the only device of this test"


def create(database: Database, **search: Any) -> StudyRecord:
    fields = {"trials": 12, "parallel": 3, "sampler": "random", "space": SPACE, **search}
    spec = StudySpec.model_validate({"name": "s", "base": {"normalizer": "batch"},
                                     "search": fields})  # fmt: skip
    return studies.create(database, spec, owner="ada", place=place, check=lambda _: [])[0]


def searcher(database: Database) -> Searcher:
    return Searcher(database, lambda: place, lambda _: [])


def claim(database: Database) -> Lease | None:
    return leases.claim(database, "cpu", "w", 30)


def report(database: Database, taken: Lease, values: list[float]) -> None:
    steps = list(range(1, len(values) + 1))
    series = Series(steps=steps, values=values, times=[time.time()] * len(values))
    with database.begin() as connection:
        metric_reports.append(connection, taken, {"val/accuracy": series})


def work(database: Database) -> int:
    n = 0
    while (taken := claim(database)) is not None:
        lr = taken.spec.optimizer.lr
        report(database, taken, [1 - abs(lr - 0.1)])
        leases.finish(database, taken, Finished(step=1, summary={}))
        n += 1
    return n


def test_a_search_runs_its_trials_a_few_at_a_time(database: Database) -> None:
    study = create(database)
    assert details.get(database, study.id).cells == 0
    rounds = []
    while searcher(database).round():  # a new searcher each round: nothing is kept in memory
        rounds.append(work(database))
    assert rounds == [3, 3, 3, 3]
    found = details.get(database, study.id)
    assert (found.state, found.counts) == ("complete", {"succeeded": 12})
    assert len({c.coordinates["optimizer.lr"] for c in found.grid}) == 12


def test_a_round_without_new_results_changes_nothing(database: Database) -> None:
    create(database)
    assert searcher(database).round() == 3
    assert searcher(database).round() == 0


def test_tpe_learns_from_what_was_tried(database: Database) -> None:
    study = create(database, sampler="tpe", trials=30, parallel=5)
    while searcher(database).round():
        work(database)
    rates = [c.coordinates["optimizer.lr"] for c in details.get(database, study.id).grid]
    first, last = (sorted(abs(r - 0.1) for r in part)[5] for part in (rates[:10], rates[-10:]))
    assert last < first


def test_bad_trials_are_pruned_and_not_completed_again(database: Database) -> None:
    study = create(database, pruner="median", trials=8, parallel=1)
    for _ in range(5):
        searcher(database).round()
        work(database)
    searcher(database).round()
    taken = claim(database)
    assert taken is not None
    report(database, taken, [-9.0])
    assert searcher(database).round() == 1
    renewal = leases.renew(database, taken, 30)
    assert renewal is not None
    assert renewal.cancel_requested
    leases.release(database, taken)
    assert details.get(database, study.id).counts == {"succeeded": 5, "pruned": 1}
    studies.complete(database, study.id, place=place)
    assert details.get(database, study.id).counts == {"succeeded": 5, "pruned": 1}


@pytest.mark.parametrize(("values", "stopped"), [([0.1, 0.1], 1), ([0.99, 0.99], 0)])
def test_asha_compares_with_trials_that_have_ended(
    database: Database, values: list[float], stopped: int
) -> None:
    create(database, pruner="asha", trials=9, parallel=1)
    for i in range(8):
        searcher(database).round()
        taken = claim(database)
        assert taken is not None
        report(database, taken, [0.5 + i / 100, 0.6 + i / 100])
        leases.finish(database, taken, Finished(step=2, summary={}))
    searcher(database).round()
    taken = claim(database)
    assert taken is not None
    report(database, taken, values)
    assert searcher(database).round() == stopped


def test_a_small_space_ends_the_proposals(database: Database) -> None:
    study = create(database, space={"batch_size": {"choices": [8, 16]}}, trials=10, parallel=10)
    searcher(database).round()
    assert details.get(database, study.id).cells == 2


def test_choices_may_be_objects(database: Database) -> None:
    kinds = [{"kind": "group", "groups": g} for g in (2, 4)]
    study = create(database, space={"normalizer": {"choices": kinds}}, trials=2, parallel=2)
    searcher(database).round()
    found = [c.coordinates["normalizer"] for c in details.get(database, study.id).grid]
    assert sorted(k["groups"] for k in found) == [2, 4]


def test_a_paused_search_proposes_nothing(database: Database) -> None:
    study = create(database)
    studies.pause(database, study.id)
    assert searcher(database).round() == 0


@pytest.mark.parametrize(
    ("space", "path"),
    [({"optimizer.rate": {"low": 1, "high": 2}}, "optimizer.rate"),
     ({"batch_size": {"low": -5, "high": 2, "integer": True}}, "batch_size"),
     ({"batch_size": {"low": 2, "high": 32}}, r"search\.space\.batch_size: .*`integer: true`"),
     ({"batch_size": {"low": 2, "high": 32, "log": True}}, r"search\.space\.batch_size"),
     ({"normalizer": {"choices": ["batch", "no_such", "layer"]}}, r"search\.space\.normalizer")],
)  # fmt: skip
def test_a_wrong_space_is_refused_on_submission(
    database: Database, space: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidSpec, match=path):
        create(database, space=space)


def test_a_search_learns_nothing_from_the_speed_of_an_emulation(database: Database) -> None:
    metric = "train/images_per_s"
    study = create(database, metric=metric, trials=2, parallel=2)
    assert searcher(database).round() == 2
    while (taken := claim(database)) is not None:
        points = Series(steps=[1], values=[9.0], times=[time.time()])
        started = Started(step=0, environment={"timing_valid": False})
        reports.keep_all(database, taken, [started, Metrics(series={metric: points})])
        leases.finish(database, taken, Finished(step=1, summary={}))
    with database.begin() as connection:
        trials = trials_of(connection, UUID(study.id), metric)
    assert [(trial.state, trial.value) for trial in trials] == [("succeeded", None)] * 2


def spoil(database: Database, study: str, content: str) -> None:
    with database.begin() as connection:
        change = text("update study set spec = spec || cast(:content as jsonb) where id = :study")
        connection.execute(change, {"content": content, "study": study})


def test_invalid_combinations_are_skipped(database: Database) -> None:
    def check(spec: JobSpec) -> list[FieldProblem]:
        wrong = (spec.batch_size, spec.seed, spec.epochs) == (16, 0, 2)
        return [FieldProblem("epochs", "not with this batch")] if wrong else []

    space = {"batch_size": {"choices": [8, 16]}, "epochs": {"choices": [1, 2]}}
    study = create(database, space=space, trials=4, parallel=4)
    Searcher(database, lambda: place, check).round()
    places = [tuple(c.coordinates.values()) for c in details.get(database, study.id).grid]
    assert (16, 2) not in places
    assert 1 <= len(places) <= 3


def test_a_search_that_cannot_continue_fails_alone_with_its_reason(database: Database) -> None:
    bad, good = create(database), create(database, seed=7)
    spoil(database, bad.id, '{"base": {"normalizer": "no_such"}}')
    assert searcher(database).round() == 3
    found = details.get(database, bad.id)
    assert found.state == "failed"
    assert found.reason is not None
    assert "no_such" in found.reason
    assert details.get(database, good.id).counts == {"queued": 3}


def test_a_search_that_this_version_cannot_read_hides_no_other_study(database: Database) -> None:
    bad, good = create(database), create(database, seed=7)
    spoil(database, bad.id, '{"seeds": [-1]}')
    assert searcher(database).round() == 3
    records = {s.id: s for s in list_studies(database).studies}
    assert (records[bad.id].state, records[good.id].state) == ("failed", "active")


def test_a_defect_in_one_search_is_counted_noted_and_stops_no_other(database: Database) -> None:
    bad, good = create(database), create(database, seed=7)
    spoiled = {"go": True}

    def check(spec: JobSpec) -> list[FieldProblem]:
        if spoiled["go"] and spec.name == "bad":
            raise ZeroDivisionError("a defect")
        return []

    spoil(database, bad.id, '{"base": {"normalizer": "batch", "name": "bad"}}')
    failures: list[int] = []
    searching = Searcher(database, lambda: place, check, failed=lambda: failures.append(1))
    assert (searching.round(), len(failures)) == (3, 1)
    found = details.get(database, bad.id)
    assert found.state == "active"
    assert found.reason is not None
    assert "ZeroDivisionError: a defect" in found.reason
    spoiled["go"] = False
    assert searcher(database).round() == 3
    assert details.get(database, bad.id).reason is None
    assert details.get(database, good.id).counts == {"queued": 3}


def test_a_space_that_is_used_up_ends_the_search(database: Database) -> None:
    study = create(database, space={"batch_size": {"choices": [8, 16]}}, trials=10, parallel=10)
    while searcher(database).round():
        work(database)
    found = details.get(database, study.id)
    assert found.state == "complete"
    assert found.reason is not None
    assert "no more cells than the 2" in found.reason


def test_trials_wait_where_their_owner_has_no_room(database: Database) -> None:
    create(database)
    searching = Searcher(database, lambda: place, lambda _: [], max_queued=2)
    assert (searching.round(), searching.round()) == (2, 0)
    assert work(database) == 2
    assert searching.round() == 2
