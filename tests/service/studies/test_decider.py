"""A study that decides adds seeds in rounds, stores its looks, and never changes one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from normlab.errors import Conflict, InvalidSpec, NotFound
from normlab.events import Failed, Finished, Series
from normlab.records import StudyRecord
from normlab.records.decisions import DecisionTable
from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec
from service.jobs import changes, leases
from service.results import metric_reports
from service.store.database import Database
from service.studies import details, studies
from service.studies.decider import Decider
from service.studies.decisions import decision

Value = Callable[[JobSpec], float | None]
"""The value that a job reports; None makes it fail."""


def place(spec: JobSpec) -> tuple[str, str]:
    return "cpu", "the only device of this test"


def spec_of(decide: dict[str, Any] | None, **fields: Any) -> StudySpec:
    axes = {"normalizer": ["batch", "layer"]}
    asked = {"by": 0.01, "at_most": 12, "rarest": 0.5, **(decide or {})}
    decides = {} if decide is None else {"decide": asked}
    return StudySpec.model_validate({"name": "d", "axes": axes, **decides, **fields})


def create(database: Database, decide: dict[str, Any] | None, **fields: Any) -> StudyRecord:
    spec = spec_of(decide, **fields)
    return studies.create(database, spec, owner="ada", place=place, check=lambda _: [])[0]


def extend(database: Database, study: str, spec: StudySpec) -> StudyRecord:
    return studies.extend(database, study, spec, owner="ada", place=place, check=lambda _: [])


def decider(database: Database, max_queued: int | None = None) -> Decider:
    return Decider(database, lambda: place, lambda _: [], max_queued)


def work(database: Database, value: Value, most: int = 1000, metric: str = "val/accuracy") -> int:
    for n in range(most):
        taken = leases.claim(database, "cpu", "w", 30)
        if taken is None:
            return n
        found = value(taken.spec)
        if found is None:
            leases.fail(database, taken, Failed(code="x", failure_kind="user", retryable=False,
                                                message="broken"))  # fmt: skip
            continue
        series = Series(steps=[1], values=[found], times=[time.time()])
        with database.begin() as connection:
            metric_reports.append(connection, taken, {metric: series})
        leases.finish(database, taken, Finished(step=1, summary={}))
    return most


def run(
    database: Database,
    value: Value,
    max_queued: int | None = None,
    metric: str = "val/accuracy",
) -> None:
    for _ in range(100):  # a new decider each round: nothing is kept in memory
        work(database, value, metric=metric)
        if not decider(database, max_queued).round():
            return
    pytest.fail("it never ends")


def noise(spec: JobSpec, sd: float = 0.02) -> float:
    return random.Random(f"{spec.normalizer.kind} {spec.batch_size} {spec.seed}").gauss(0, sd)


def better(by: float) -> Value:
    return lambda spec: 0.5 + noise(spec) + by * (spec.normalizer.kind != "batch")


def verdicts(table: DecisionTable) -> list[str]:
    return [row.verdict for row in table.rows]


@pytest.mark.parametrize(
    ("effect", "word", "said"),
    [(0.3, "shows", "layer is better than batch"),
     (-0.3, "contradicts", "layer is worse than batch")],
)  # fmt: skip
def test_a_large_effect_is_decided_with_few_seeds(
    database: Database, effect: float, word: str, said: str
) -> None:
    study = create(database, {"at_most": 64})
    run(database, better(effect))
    found = decision(database, study.id)
    assert verdicts(found) == [word]
    assert found.rows[0].words.startswith(said)
    assert details.get(database, study.id).state == "complete"
    assert details.get(database, study.id).cells <= 16


def test_comparisons_undecided_at_the_limit_name_the_effect_that_would_have_shown(
    database: Database,
) -> None:
    study = create(database, {"by": 0.01})
    run(database, better(0.004))
    found = decision(database, study.id)
    last = found.rows[0].looks[-1]
    assert (verdicts(found), last.seeds, found.counts) == (["undecided"], 12, {"undecided": 1})
    assert last.seen is not None
    assert last.seen > 0.01
    assert last.more is not None
    assert "more seeds would decide" in found.rows[0].words
    assert details.get(database, study.id).state == "complete"
    assert [look.seeds for look in found.rows[0].looks] == [6, 9, 12]


def test_a_look_waits_until_its_whole_round_has_ended(database: Database) -> None:
    study = create(database, {})
    assert decider(database).round() == 0  # the first seed is queued
    work(database, better(0.3))
    assert decider(database).round() == 10  # five more seeds of two kinds
    work(database, better(0.3), most=9)
    assert decider(database).round() == 0
    assert decision(database, study.id).rows[0].looks == []
    work(database, better(0.3))
    assert decider(database).round() == 1
    assert [look.seeds for look in decision(database, study.id).rows[0].looks] == [6]


def test_each_look_is_taken_once(database: Database) -> None:
    study = create(database, {}, seeds=6)
    work(database, better(0.004))
    assert decider(database).round() == 1
    assert decider(database).round() == 6
    assert decider(database).round() == 0
    assert len(decision(database, study.id).rows[0].looks) == 1


def test_a_verdict_stays_whatever_happens_to_the_others(database: Database) -> None:
    axes = {"normalizer": ["batch", "layer"], "batch_size": [8, 32]}
    study = create(database, {"at_most": 18}, axes=axes)
    run(database, lambda s: better(0.3 if s.batch_size == 8 else 0.0)(s))
    found = decision(database, study.id)
    assert verdicts(found) == ["shows", "undecided"]
    assert found.rows[0].looks[-1].seeds < 18
    assert [look.verdict for look in found.rows[0].looks[:-1]].count("shows") == 0
    seeds = {(c.coordinates["batch_size"], c.seed) for c in details.get(database, study.id).grid}
    assert max(s for size, s in seeds if size == 8) < max(s for size, s in seeds if size == 32)


def test_failed_seeds_and_ties_are_counted(database: Database) -> None:
    study = create(database, {})
    run(database, lambda s: None if s.seed == 1 and s.normalizer.kind == "layer" else 0.5)
    last = decision(database, study.id).rows[0].looks[-1]
    assert (last.failed, last.pairs, last.ties) == (1, last.seeds - 1, last.seeds - 1)


def test_a_smaller_loss_is_better(database: Database) -> None:
    study = create(database, {"metric": "val/loss"})
    run(database, better(-0.3), metric="val/loss")
    assert verdicts(decision(database, study.id)) == ["shows"]


def test_a_metric_that_nobody_reports_fails_the_study_with_the_reason(database: Database) -> None:
    study = create(database, {"metric": "val/acuracy"})
    run(database, better(0.3))
    found = details.get(database, study.id)
    assert found.state == "failed"
    assert "the nearest are val/accuracy" in str(found.reason)


def test_rounds_wait_for_room_in_the_queue(database: Database) -> None:
    study = create(database, {})
    work(database, better(0.3))
    assert [decider(database, max_queued=4).round() for _ in range(2)] == [4, 0]
    work(database, better(0.3))
    assert decider(database, max_queued=4).round() == 4
    run(database, better(0.3), max_queued=4)
    assert verdicts(decision(database, study.id)) == ["shows"]


def test_a_paused_study_continues_when_it_is_resumed(database: Database) -> None:
    study = create(database, {})
    work(database, better(0.3))
    studies.pause(database, study.id)
    assert decider(database).round() == 0
    studies.resume(database, study.id)
    run(database, better(0.3))
    assert verdicts(decision(database, study.id)) == ["shows"]


def test_a_cancelled_study_continues_when_it_is_completed(database: Database) -> None:
    study = create(database, {})
    studies.cancel(database, study.id)
    assert decider(database).round() == 0
    studies.complete(database, study.id, place=place)
    run(database, better(0.3))
    assert verdicts(decision(database, study.id)) == ["shows"]
    studies.complete(database, study.id, place=place)
    decider(database).round()
    assert details.get(database, study.id).state == "complete"


def test_an_existing_grid_can_be_decided(database: Database) -> None:
    study = create(database, None, seeds=7)
    work(database, better(0.3))
    assert details.get(database, study.id).state == "complete"
    assert extend(database, study.id, spec_of({}, seeds=7)).state == "active"
    run(database, better(0.3))
    assert decision(database, study.id).rows[0].looks[0].seeds == 7


def test_no_question_is_changed_after_a_look(database: Database) -> None:
    study = create(database, {}, seeds=6)
    work(database, better(0.004))
    decider(database).round()
    with pytest.raises(Conflict, match="another name"):
        extend(database, study.id, spec_of({"by": 0.05}, seeds=6))


def test_a_study_without_a_question_has_no_decision(database: Database) -> None:
    study = create(database, None)
    with pytest.raises(NotFound, match="give it `decide`"):
        decision(database, study.id)


def test_a_value_that_the_axis_lacks_is_refused_with_those_it_has(database: Database) -> None:
    with pytest.raises(InvalidSpec, match="one of batch, layer") as refused:
        create(database, {"compare": {"axis": "normalizer", "against": "gruop"}})
    assert refused.value.problems[0].field == "decide.compare.against"


def test_a_job_that_somebody_cancels_counts_as_one_without_a_value(database: Database) -> None:
    study = create(database, {}, seeds=6)
    job = details.get(database, study.id).grid[0].job
    assert job is not None
    changes.cancel(database, job)
    work(database, better(0.3))
    decider(database).round()
    assert decision(database, study.id).rows[0].looks[0].failed == 1
