from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from normlab.errors import ServiceUnavailable
from normlab.events import (
    AnyEvent,
    CheckpointWritten,
    Diagnostic,
    Failed,
    Finished,
    Metrics,
    Progress,
    Started,
)
from service.jobs import changes, leases, reading
from service.jobs.reaper import Reaper
from service.results import metrics, reports
from service.store.database import Database
from tests.service.work import claim, reap, series, submit

LOST = Failed(code="worker_lost", failure_kind="lost", retryable=True, message="gone")
BROKEN = Failed(code="device_error", failure_kind="device", retryable=True, message="ECC")
USER = Failed(code="loss_not_finite", failure_kind="user", retryable=False, message="NaN at 3")


def _expire(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(text("update job set lease_until = clock_timestamp() - interval '1 s'"))


def test_each_job_is_claimed_once_even_if_many_workers_ask(database: Database) -> None:
    wanted = {submit(database, owner=f"owner-{i % 3}").id for i in range(40)}
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda i: leases.claim(database, "cpu", f"w{i}", 30), range(60)))
    got = [str(found.job) for found in claims if found is not None]
    while (late := leases.claim(database, "cpu", "w", 30)) is not None:
        got.append(str(late.job))
    assert len(got) == 40
    assert set(got) == wanted


def test_a_claim_is_for_its_device_only(database: Database) -> None:
    submit(database, device="ipu")
    assert leases.claim(database, "cpu", "w", 30) is None
    assert claim(database, "ipu").device == "ipu"


def test_a_job_with_more_replicas_than_free_places_waits(database: Database) -> None:
    pair = submit(database, device="cuda", replicas=2)
    single = submit(database, device="cuda")
    found = [leases.claim(database, "cuda", "w", 30, most_replicas=room) for room in (1, 1, 2)]
    assert [str(c.job) if c else None for c in found] == [single.id, None, pair.id]


def test_priority_goes_first_then_age(database: Database) -> None:
    old = submit(database)
    urgent = submit(database, priority=1)
    new = submit(database)
    assert [str(claim(database).job) for _ in range(3)] == [urgent.id, old.id, new.id]


def test_a_thousand_jobs_of_one_owner_do_not_starve_another_one(database: Database) -> None:
    for _ in range(10):
        submit(database, owner="many")
    submit(database, owner="one")
    served = []
    for _ in range(3):  # one slot: nothing else runs when the next job is chosen
        held = claim(database)
        served.append(held.owner)
        leases.finish(database, held, Finished(step=0, summary={}))
    assert served == ["many", "one", "many"]


def test_the_owner_with_the_fewest_running_jobs_is_served_first(database: Database) -> None:
    for _ in range(3):
        submit(database, owner="many")
    claim(database)
    claim(database)
    submit(database, owner="late")
    assert claim(database).owner == "late"


@pytest.mark.parametrize("held", ["state = 'paused'", "cancelling = true"])
def test_a_job_whose_study_holds_it_back_is_not_claimed(database: Database, held: str) -> None:
    job = submit(database)
    add = text(
        "insert into study (id, name, owner, spec, state, fingerprint)"
        " values (:id, 's', 'ada', '{}', 'active', 'f')"
    )
    with database.begin() as connection:
        connection.execute(add, {"id": job.id})
        connection.execute(text("update job set study = id"))
        connection.execute(text(f"update study set {held}"))
    assert leases.claim(database, "cpu", "w", 30) is None
    with database.begin() as connection:
        connection.execute(text("update study set state = 'active', cancelling = false"))
    assert leases.claim(database, "cpu", "w", 30) is not None


def test_an_expired_lease_that_was_not_reaped_is_renewed(database: Database) -> None:
    submit(database)
    held = claim(database)
    _expire(database)
    renewal = leases.renew(database, held, 30)
    assert renewal is not None
    assert not renewal.cancel_requested
    assert reap(database) == 0


def test_a_lost_job_is_queued_again_and_finally_fails(database: Database) -> None:
    job = submit(database, max_attempts=2)
    for expected in ("queued", "failed"):
        claim(database)
        _expire(database)
        assert reap(database) == 1
        assert reading.get(database, job.id).state == expected
    ended = reading.get(database, job.id)
    assert [attempt.outcome for attempt in ended.attempts] == ["lost", "lost"]
    assert ended.error is not None
    assert ended.error.failure_kind == "lost"
    assert "worker-1" in ended.error.message


def test_a_worker_frozen_inside_a_transaction_does_not_keep_its_job(
    database: Database, database_url: str
) -> None:
    job = submit(database)
    held = claim(database, lease_s=0.1)

    def freeze_and_wake(frozen: Database) -> None:
        with frozen.begin() as connection:
            assert leases.hold(connection, held)
            while not reap(database):
                time.sleep(0.1)
            connection.execute(text("select 1"))

    with Database(database_url, name="worker-1") as frozen:
        with pytest.raises(ServiceUnavailable):
            freeze_and_wake(frozen)
        assert leases.renew(frozen, held, 30) is None
    assert reading.get(database, job.id).state == "queued"


def test_two_reapers_at_once_take_each_job_once(database: Database) -> None:
    for _ in range(20):
        submit(database)
        claim(database)
    _expire(database)
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: reap(database), range(4))) == 20


def test_a_cancelled_job_whose_worker_is_lost_is_cancelled(database: Database) -> None:
    job = submit(database)
    claim(database)
    changes.cancel(database, job.id)
    _expire(database)
    reap(database)
    assert reading.get(database, job.id).state == "cancelled"


ZOMBIE_WRITES: list[AnyEvent] = [
    Started(step=0, environment={}),
    Metrics(series={"train/loss": series(1)}),
    Progress(step=1, steps=2, epoch=0, epochs=1),
    CheckpointWritten(step=1, path="/x/c.pt", sha256="00", bytes=1),
    Diagnostic(name="power", step=1, record={}),
]


@pytest.mark.parametrize("event", ZOMBIE_WRITES, ids=lambda e: e.type)
def test_a_worker_that_lost_its_lease_writes_nothing(database: Database, event: AnyEvent) -> None:
    job = submit(database)
    zombie = claim(database)
    _expire(database)
    reap(database)
    claim(database)
    before = reading.get(database, job.id)
    assert leases.renew(database, zombie, 30) is None
    assert not reports.keep_all(database, zombie, [event])
    assert not leases.finish(database, zombie, Finished(step=1, summary={}))
    assert not leases.fail(database, zombie, USER)
    assert not leases.release(database, zombie)
    assert reading.get(database, job.id) == before
    assert metrics.names(database, job.id) == {}


def test_a_temporary_error_is_retried_after_a_pause(database: Database) -> None:
    job = submit(database)
    leases.fail(database, claim(database), BROKEN, backoff_s=60)
    waiting = reading.get(database, job.id)
    assert (waiting.state, waiting.error) == ("queued", None)
    assert leases.claim(database, "cpu", "w", 30) is None
    with database.begin() as connection:
        pause = text("select extract(epoch from not_before - clock_timestamp()) from job")
        assert 50 < connection.execute(pause).scalar_one() <= 60


def test_an_error_of_the_user_is_not_retried(database: Database) -> None:
    job = submit(database)
    leases.fail(database, claim(database), USER)
    ended = reading.get(database, job.id)
    assert ended.state == "failed"
    assert ended.error is not None
    assert (ended.error.code, ended.error.message) == ("loss_not_finite", "NaN at 3")


def test_a_message_with_a_nul_character_still_ends_the_job(database: Database) -> None:
    job = submit(database)
    leases.fail(database, claim(database), USER.model_copy(update={"message": "a\0b"}))
    error = reading.get(database, job.id).error
    assert error is not None
    assert error.message == "a\ufffdb"


def test_a_drained_job_is_queued_and_the_attempt_does_not_count(database: Database) -> None:
    job = submit(database, max_attempts=1)
    for attempt in (1, 2, 3):
        held = claim(database)
        assert held.attempt == attempt
        assert leases.release(database, held)
    assert reading.get(database, job.id).state == "queued"


def test_the_next_attempt_gets_the_newest_checkpoints_first(database: Database) -> None:
    submit(database, checkpoint={"keep": 2})
    held = claim(database)
    for step in (10, 20, 30):
        written = CheckpointWritten(step=step, path=f"/x/{step}.pt", sha256=f"{step}", bytes=1)
        reports.keep_all(database, held, [written])
    leases.fail(database, held, LOST)
    assert [(c.step, c.path) for c in claim(database).resume] == [
        (30, "/x/30.pt"),
        (20, "/x/20.pt"),
    ]


def test_running_time_adds_up_over_attempts(database: Database) -> None:
    submit(database, time_limit_s=100.0)
    first = claim(database)
    assert first.time_left_s == 100.0
    with database.begin() as connection:
        connection.execute(text("update attempt set started_at = started_at - interval '30 s'"))
    leases.fail(database, first, LOST)
    (ran,) = reading.get(database, str(first.job)).attempts
    assert ran.ended_at is not None
    ran_s = (ran.ended_at - ran.started_at).total_seconds()
    assert ran_s > 30
    assert claim(database).time_left_s == pytest.approx(100.0 - ran_s, abs=1e-3)


def test_the_reaper_waits_one_lease_before_its_first_look(database: Database) -> None:
    now = [1000.0]
    reaper = Reaper(database, lease_s=0.05, clock=lambda: now[0])
    submit(database)
    claim(database)
    _expire(database)
    assert reaper.round() == 0
    now[0] += 0.04
    assert reaper.round() == 0
    now[0] += 0.02
    assert reaper.round() == 1


def test_the_reaper_waits_one_lease_after_the_server_restarted(database: Database) -> None:
    now = [1000.0]
    reaper = Reaper(database, lease_s=1e6, clock=lambda: now[0])  # the server is younger than that
    submit(database)
    claim(database)
    _expire(database)
    reaper.round()
    now[0] += 2e6
    assert reaper.round() == 0
