"""All ways in which one attempt can run, with a real database and real job processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from normlab.errors import ServiceUnavailable
from normlab.records import JobDetail
from service.jobs import changes, leases
from service.results import logs
from service.store.database import Database
from tests.service.work import reap
from workers.job_order import JobOrder
from workers.process import JobProcess
from workers.supervisor import Supervisor
from workers.warm_launcher import WarmLauncher

from .bench import LEASE_S, Bench, Recording
from .conftest import LONG, SHORT


def _learning(job: JobDetail) -> bool:
    return job.step > 0


@pytest.fixture
def bench(database: Database, tmp_path: Path, warm: WarmLauncher) -> Bench:
    return Bench(database, tmp_path, warm)


def test_a_job_ends_well_with_each_step_once(bench: Bench) -> None:
    job = bench.submit(SHORT)
    bench.work()
    record = bench.job(job)
    assert (record.state, record.attempt, record.step) == ("succeeded", 1, 20)
    assert record.attempts[0].outcome == "succeeded"
    assert record.attempts[0].environment["runtime"] == "cpu"
    assert bench.losses(job)[0] == list(range(1, 21))
    assert bench.nothing_is_left()


# As long as a test needs, with the same numbers at every step for every length.
ENDLESS = {**LONG, "schedule": "constant"}


def _goes_on_as(bench: Bench, torn: str, whole: str) -> None:
    """Let *torn* resume, and compare it with *whole* as far as that goes."""
    steps = bench.job(whole).step
    with bench.working():
        bench.until(torn, lambda job: job.attempt == 2 and job.step >= steps)
        changes.cancel(bench.database, torn)
    attempts = bench.job(torn).attempts
    assert [attempt.outcome for attempt in attempts] == ["lost", "cancelled"]
    assert attempts[1].resumed_from_step > 0
    (expected_at, expected), (found_at, found) = map(bench.losses, (whole, torn))
    assert (found_at[:steps], found[:steps]) == (expected_at, expected)


def test_a_killed_job_resumes_and_goes_on_with_the_same_bits(bench: Bench) -> None:
    whole = bench.submit(ENDLESS, max_steps=200)
    bench.work()
    torn = bench.submit(ENDLESS)
    with bench.working():
        bench.until_saved(torn)
        os.kill(bench.launcher.started[-1].pid, signal.SIGKILL)
    assert bench.job(torn).state == "queued"
    _goes_on_as(bench, torn, whole)


def test_cancel_stops_a_running_job(bench: Bench) -> None:
    job = bench.submit(LONG)
    with bench.working():
        bench.until(job, _learning)
        changes.cancel(bench.database, job)
    assert bench.job(job).state == "cancelled"
    assert bench.nothing_is_left()


def test_a_cancellation_right_after_the_claim_is_seen(bench: Bench) -> None:
    job = bench.submit(LONG)
    claim = bench.claim()
    changes.cancel(bench.database, job)
    bench.supervisor.work_on(claim)
    assert bench.job(job).state == "cancelled"


def test_a_job_that_ignores_the_request_is_killed_after_the_grace(bench: Bench) -> None:
    bench.supervisor = Supervisor(
        bench.database,
        bench.settings.model_copy(update={"grace_s": 0.2}),
        bench.launcher,
        1,
        bench.leaving,
    )
    job = bench.submit(LONG)
    with bench.working():
        bench.until(job, _learning)
        os.kill(bench.launcher.started[-1].pid, signal.SIGSTOP)
        changes.cancel(bench.database, job)
    assert bench.job(job).state == "cancelled"
    assert bench.nothing_is_left()


def test_a_drained_job_is_queued_again_with_a_checkpoint_and_no_attempt_spent(bench: Bench) -> None:
    job = bench.submit(LONG, max_attempts=1)
    with bench.working():
        bench.until(job, _learning)
        bench.leaving.set()
    record = bench.job(job)
    assert (record.state, record.attempts[0].outcome) == ("queued", "released")
    bench.leaving.clear()
    claim = bench.claim()
    assert claim.resume[0].step >= record.step > 0
    assert leases.release(bench.database, claim)


def test_the_time_limit_ends_a_job(bench: Bench) -> None:
    job = bench.submit(LONG, time_limit_s=1.0)
    bench.work()
    record = bench.job(job)
    assert (record.state, record.attempt) == ("failed", 1)
    assert record.error is not None
    assert record.error.failure_kind == "timeout"


def test_a_fenced_supervisor_kills_its_process_and_writes_nothing(bench: Bench) -> None:
    job = bench.submit(LONG)
    with bench.working():
        bench.until(job, _learning)
        expire = text("update job set lease_until = clock_timestamp() - interval '1 hour'")
        with bench.database.begin() as connection:
            connection.execute(expire)
            before = _rows(connection)
            connection.execute(text("update job set attempt = 2"))
    with bench.database.begin() as connection:
        assert _rows(connection) == before
    assert bench.job(job).state == "running"
    assert bench.nothing_is_left()


def _rows(connection: Connection) -> int:
    return int(connection.execute(text("select count(*) from metric_chunk")).scalar_one())


def test_a_poisoned_job_fails_after_its_attempts(bench: Bench) -> None:
    job = bench.submit(LONG, max_attempts=3)
    for _ in range(3):
        with bench.working():
            _kill_the_next(bench.launcher)
    record = bench.job(job)
    assert (record.state, record.attempt) == ("failed", 3)
    assert [a.outcome for a in record.attempts] == ["lost"] * 3
    assert record.error is not None
    assert "SIGKILL" in record.error.message


def _kill_the_next(launcher: Recording) -> None:
    known = len(launcher.started)
    while len(launcher.started) == known:
        time.sleep(0.001)
    os.kill(launcher.started[-1].pid, signal.SIGKILL)


def test_out_of_memory_is_not_retried(bench: Bench) -> None:
    bench.supervisor = Supervisor(
        bench.database,
        bench.settings.model_copy(update={"job_memory_bytes": 1 << 30}),
        bench.launcher,
        1,
        bench.leaving,
    )
    job = bench.submit({**SHORT, "model": {"name": "convnet", "width": 4096}}, max_attempts=3)
    bench.work()
    record = bench.job(job)
    assert record.error is not None
    assert (record.state, record.attempt, record.error.failure_kind) == ("failed", 1, "oom")


def test_the_traceback_is_in_the_log_and_not_in_the_message(bench: Bench) -> None:
    job = bench.submit({**SHORT, "batch_size": 60_000})
    bench.work()
    record = bench.job(job)
    assert record.error is not None
    assert "batch_size" in record.error.message
    assert "Traceback" not in record.error.message
    assert "Traceback" in logs.read(bench.database, job).text


def test_a_job_is_retried_if_its_worker_cannot_start_processes(bench: Bench) -> None:
    class NoInterpreter:
        def start(self, order: JobOrder) -> JobProcess:
            raise FileNotFoundError(2, "No such file or directory", "/opt/sdk/python")

    job = bench.submit(SHORT)
    broken = Supervisor(bench.database, bench.settings, NoInterpreter(), 1, bench.leaving)
    broken.work_on(bench.claim())
    record = bench.job(job)
    assert (record.state, record.attempts[0].failure_kind) == ("queued", "device")
    assert "/opt/sdk/python" in (record.attempts[0].message or "")


class Outage(Database):
    """A database that a test can make unreachable."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.away = False

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        if self.away:
            raise ServiceUnavailable("the test took the database away")
        with super().begin() as connection:
            yield connection


def test_a_database_outage_longer_than_a_lease_costs_a_job_nothing(
    bench: Bench, database_url: str
) -> None:
    flaky = Outage(database_url)
    bench.supervisor = Supervisor(flaky, bench.settings, bench.launcher, 1, bench.leaving)
    job = bench.submit(LONG, epochs=30)
    with bench.working():
        bench.until(job, _learning)
        flaky.away = True
        time.sleep(2 * LEASE_S)  # the outage itself
        flaky.away = False
    record = bench.job(job)
    flaky.close()
    assert (record.state, record.attempt) == ("succeeded", 1)
    assert bench.losses(job)[0] == list(range(1, record.step + 1))


def _newest_step(folder: Path, job: str) -> int:
    files = (folder / "jobs" / job).glob("attempt-1/checkpoints/step-*.pt")
    return max((int(file.stem[5:]) for file in files), default=0)


def test_a_job_that_was_ahead_of_the_record_when_it_was_lost_resumes_from_what_is_on_record(
    bench: Bench, database_url: str, tmp_path: Path
) -> None:
    whole = bench.submit(ENDLESS, max_steps=20)
    bench.work()
    flaky = Outage(database_url)
    steady = bench.supervisor
    bench.supervisor = Supervisor(flaky, bench.settings, bench.launcher, 1, bench.leaving)
    torn = bench.submit(ENDLESS)
    with bench.working():
        bench.until_saved(torn)
        flaky.away = True
        ahead = _newest_step(tmp_path, torn) + 6 * 20
        bench.until(torn, lambda _: _newest_step(tmp_path, torn) >= ahead)
        os.kill(bench.launcher.started[-1].pid, signal.SIGKILL)
        bench.leaving.set()  # so that it is lost with everything that it had not recorded
    bench.leaving.clear()
    flaky.close()
    files = list((tmp_path / "jobs" / torn).glob("attempt-1/checkpoints/*.pt"))
    assert len(files) <= 3 * 2 + 1  # on record, being recorded, waiting; and one that just came
    bench.until(torn, lambda _: reap(bench.database) == 1)
    bench.supervisor = steady
    _goes_on_as(bench, torn, whole)
    assert sum(file.exists() for file in files) <= 2  # the others were never on record


def test_an_end_during_an_outage_is_written_after_it(bench: Bench, database_url: str) -> None:
    flaky = Outage(database_url)
    bench.supervisor = Supervisor(flaky, bench.settings, bench.launcher, 1, bench.leaving)
    job = bench.submit(SHORT)
    claim = bench.claim()
    flaky.away = True
    thread = threading.Thread(target=bench.supervisor.work_on, args=[claim])
    thread.start()
    while not (bench.launcher.started and bench.launcher.started[0].poll() is not None):
        time.sleep(0.01)
    flaky.away = False
    thread.join(240)
    flaky.close()
    record = bench.job(job)
    assert (record.state, record.attempt) == ("succeeded", 1)
    assert bench.losses(job)[0] == list(range(1, 21))


def test_results_that_cannot_be_stored_end_the_job_and_not_the_slot(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("no such column")

    monkeypatch.setattr("service.results.reports.keep", refuse)
    job = bench.submit(LONG)
    bench.work()
    record = bench.job(job)
    assert record.error is not None
    assert (record.state, record.error.code) == ("failed", "unexpected")
    assert "no such column" in record.error.message
    assert bench.nothing_is_left()


def test_a_job_learns_under_the_norms_of_another(bench: Bench) -> None:
    fields = {"epochs": 2, "max_steps": 100, "diagnostics": ["weight_norms"]}
    slow = {"lr": 0.01, "weight_decay": 0.01}  # at usual rates, some processors' rounding diverges
    free = bench.submit(SHORT, **fields, optimizer=slow)
    bench.work()
    steered = bench.submit(SHORT, **fields, optimizer={**slow, "norms_of": "twin"})
    bench.work()
    assert [bench.job(job).state for job in (free, steered)] == ["succeeded"] * 2
    assert bench.losses(steered)[1] != bench.losses(free)[1]
    lost = bench.submit(SHORT, **fields, seed=1, optimizer={"norms_of": "twin"})
    bench.work()
    record = bench.job(lost)
    assert (record.state, record.error and record.error.code) == ("failed", "invalid_spec")
    assert "run that one first" in str(record.error)
