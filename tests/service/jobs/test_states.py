"""The state machine, checked against a model of it on the real database."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from normlab.errors import Conflict
from normlab.events import Failed, Finished, Metrics
from normlab.records import ENDED, JobState
from service.jobs import changes, leases, reading, states
from service.jobs.leases import Lease
from service.results import metrics, reports
from service.store import events
from service.store.database import Database
from tests.service.work import reap, series, submit

ATTEMPTS = 2
FAILURES = {
    "user": Failed(code="loss_not_finite", failure_kind="user", retryable=False, message="NaN"),
    "device": Failed(code="device_error", failure_kind="device", retryable=True, message="ECC"),
}


def test_every_state_can_be_reached_and_no_move_leads_to_itself() -> None:
    assert {to for moves in states.MOVES.values() for to in moves} == set(states.MOVES)
    assert all(state not in moves for state, moves in states.MOVES.items())


def test_an_unknown_move_is_a_programming_error(database: Database) -> None:
    with database.begin() as connection, pytest.raises(ValueError, match="no job goes from"):
        states.move(connection, UUID(int=0), ["succeeded"], "running")


def test_a_move_from_another_state_or_attempt_changes_nothing(database: Database) -> None:
    job = UUID(submit(database).id)
    with database.begin() as connection:
        assert not states.move(connection, job, ["running"], "failed")
        assert not states.move(connection, job, ["queued"], "running", attempt=7)
    assert [event.kind for event in events.since(database, str(job))] == ["queued"]


@dataclass
class Model:
    """The expected state of a job."""

    state: JobState = "queued"
    attempt: int = 0
    forgiven: int = 0
    cancel: bool = False
    expired: bool = False
    moves: int = 1
    points: int = 0

    def begin(self) -> None:
        self.state, self.expired = "running", False
        self.attempt += 1
        self.moves += 1
        self.points = 0

    def end(self, to: JobState) -> None:
        self.state = to
        self.moves += 1

    def fail(self, *, retryable: bool) -> None:
        again = retryable and self.attempt - self.forgiven < ATTEMPTS
        self.end("cancelled" if self.cancel else "queued" if again else "failed")


class Life(RuleBasedStateMachine):
    """Owners, workers (with and without a valid lease) and the reaper, in any order."""

    database: Database
    submitted = Bundle("submitted")
    claims = Bundle("claims")

    @initialize()
    def begin(self) -> None:
        self.models: dict[str, Model] = {}
        with self.database.begin() as connection:
            connection.execute(text("truncate job, turn restart identity cascade"))

    @precondition(lambda self: len(self.models) < 2)  # so that each job has many events
    @rule(target=submitted)
    def submit(self) -> str:
        job = submit(self.database, max_attempts=ATTEMPTS).id
        self.models[job] = Model()
        return job

    @precondition(lambda self: self._any("queued"))
    @rule(target=claims)
    def claim(self) -> Lease:
        found = leases.claim(self.database, "cpu", "w", 30)
        assert found is not None
        model = self.models[str(found.job)]
        assert model.state == "queued"
        model.begin()
        assert found.attempt == model.attempt
        return found

    @rule(claim=claims, how=st.sampled_from(["report", "finish", "user", "device", "release"]))
    def work(self, claim: Lease, how: str) -> None:
        if how == "report":
            self._report(claim)
        else:
            self._end(claim, how)

    def _report(self, claim: Lease) -> None:
        held, model = self._holds(claim), self.models[str(claim.job)]
        said = Metrics(series={"train/loss": series(model.points + 1)})
        assert reports.keep_all(self.database, claim, [said]) == held
        model.points += held
        renewal = leases.renew(self.database, claim, 30)
        assert (renewal is not None) == held
        if renewal is not None:
            model.expired = False
            assert renewal.cancel_requested == model.cancel

    def _end(self, claim: Lease, how: str) -> None:
        held, model = self._holds(claim), self.models[str(claim.job)]
        if how == "finish":
            assert leases.finish(self.database, claim, Finished(step=1, summary={})) == held
            if held:
                model.end("succeeded")
        elif how == "release":
            assert leases.release(self.database, claim) == held
            if held:
                model.forgiven += not model.cancel
                model.end("cancelled" if model.cancel else "queued")
        else:
            assert leases.fail(self.database, claim, FAILURES[how]) == held
            if held:
                model.fail(retryable=FAILURES[how].retryable)

    @rule(job=submitted)
    def expire(self, job: str) -> None:
        past = "update job set lease_until = clock_timestamp() - interval '1 s' where id = :job"
        with self.database.begin() as connection:
            connection.execute(text(f"{past} and state = 'running'"), {"job": job})
        self.models[job].expired = True

    @precondition(lambda self: self._any("running"))
    @rule()
    def reap(self) -> None:
        lost = [m for m in self.models.values() if m.state == "running" and m.expired]
        assert reap(self.database) == len(lost)
        for model in lost:
            model.fail(retryable=True)

    @rule(job=submitted)
    def lose(self, job: str) -> None:
        self.expire(job)
        self.reap()

    @rule(job=submitted)
    def cancel(self, job: str) -> None:
        model = self.models[job]
        if model.state in ENDED:
            with pytest.raises(Conflict):
                changes.cancel(self.database, job)
            return
        changes.cancel(self.database, job)
        if model.state == "queued":
            model.end("cancelled")
        else:
            model.cancel = True

    @rule(job=submitted)
    def retry(self, job: str) -> None:
        model = self.models[job]
        if model.state not in ("failed", "cancelled"):
            with pytest.raises(Conflict):
                changes.retry(self.database, job)
            return
        changes.retry(self.database, job)
        model.end("queued")
        model.forgiven, model.cancel = model.attempt, False

    @invariant()
    def the_database_agrees_with_the_model(self) -> None:
        for job, model in getattr(self, "models", {}).items():
            found = reading.get(self.database, job)
            assert (found.state, found.attempt) == (model.state, model.attempt)
            assert found.cancel_requested == model.cancel
            assert (found.finished_at is not None) == (model.state in ENDED)
            assert (found.error is not None) == (model.state == "failed")
            open_attempts = [a.number for a in found.attempts if a.ended_at is None]
            assert open_attempts == ([model.attempt] if model.state == "running" else [])

    def teardown(self) -> None:
        for job, model in getattr(self, "models", {}).items():
            told = [event.kind for event in events.since(self.database, job)]
            assert sum(kind in states.MOVES for kind in told) == model.moves
            # Everything that the last attempt stored is there.
            if model.points:
                steps = metrics.read(self.database, job, "train/loss").steps
                assert steps[-1] >= model.points

    def _any(self, state: JobState) -> bool:
        return any(model.state == state for model in self.models.values())

    def _holds(self, claim: Lease) -> bool:
        model = self.models[str(claim.job)]
        return model.state == "running" and model.attempt == claim.attempt


def test_jobs_follow_the_state_machine_under_any_events(database: Database) -> None:
    machine = type("LifeHere", (Life,), {"database": database})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
