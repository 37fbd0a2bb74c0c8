from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from normlab.errors import Conflict, IdempotencyReuse, NotFound, QuotaExceeded
from normlab.events import Failed, Finished
from service.jobs import changes, gauges, leases, listing, reading, submissions, workers
from service.store import events, schema
from service.store.database import Database
from service.store.identity import new_id
from service.store.sight import EVERYTHING
from tests.service.work import claim, spec, submit

OOM = Failed(code="oom", failure_kind="oom", retryable=False, message="does not fit")


def test_a_submitted_job_is_queued_and_its_record_describes_it(database: Database) -> None:
    normalizer = {"kind": "group", "groups": 4, "proxy": True}
    job = submit(database, normalizer=normalizer, batch_size=2, gradient_accumulation=4, seed=7)
    assert (job.state, job.normalizer, job.proxy) == ("queued", "group", True)
    assert (job.batch_size, job.samples_per_update, job.seed) == (2, 8, 7)
    assert job.device_reason == "a test asks for it"
    assert reading.get(database, job.id).spec == spec(
        normalizer=normalizer, batch_size=2, gradient_accumulation=4, seed=7
    )


def test_identifiers_sort_by_age(database: Database) -> None:
    first, second = submit(database), submit(database)
    assert first.id[:8] <= second.id[:8]


@pytest.mark.parametrize("name", ["nope", "00000000-0000-7000-8000-000000000000", ""])
def test_an_unknown_job_is_not_found(database: Database, name: str) -> None:
    with pytest.raises(NotFound, match="there is no job"):
        reading.get(database, name)


def _submit_with_key(database: Database, key: str, seed: int = 0) -> tuple[str, bool]:
    job, created = submissions.submit(
        database,
        spec(seed=seed),
        owner="ada",
        device="cpu",
        device_reason="",
        idempotency_key=key,
    )
    return job.id, created


def test_the_same_key_with_the_same_body_is_the_same_job(database: Database) -> None:
    first, created = _submit_with_key(database, "k")
    assert created
    assert _submit_with_key(database, "k") == (first, False)


def test_the_same_key_with_another_body_is_refused_and_changes_nothing(database: Database) -> None:
    first, _ = _submit_with_key(database, "k")
    with pytest.raises(IdempotencyReuse, match=first):
        _submit_with_key(database, "k", seed=1)
    assert [job.id for job in listing.list_jobs(database).jobs] == [first]


def test_owners_do_not_share_keys(database: Database) -> None:
    _submit_with_key(database, "k")
    job, created = submissions.submit(
        database, spec(), owner="bob", device="cpu", device_reason="", idempotency_key="k"
    )
    assert (job.owner, created) == ("bob", True)


def test_many_submissions_at_once_half_of_them_twice_make_each_job_once(
    database: Database,
) -> None:
    keys = [f"key-{i}" for i in range(200)] + [f"key-{i}" for i in range(100)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda key: (key, _submit_with_key(database, key)), keys))
    assert len({identity for _, (identity, _) in answers}) == 200
    assert len({(key, identity) for key, (identity, _) in answers}) == 200
    assert sum(created for _, (_, created) in answers) == 200


def test_a_submission_over_the_quota_is_refused_and_nothing_is_queued(database: Database) -> None:
    for _ in range(2):
        submit(database)
    with pytest.raises(QuotaExceeded, match="2 jobs queued"):
        submissions.submit(
            database, spec(), owner="ada", device="cpu", device_reason="", max_queued=2
        )
    assert len(listing.list_jobs(database).jobs) == 2


def test_a_known_key_gives_its_job_even_if_the_quota_is_used_up(database: Database) -> None:
    first, _ = _submit_with_key(database, "k")
    again, created = submissions.submit(
        database,
        spec(seed=0),
        owner="ada",
        device="cpu",
        device_reason="",
        idempotency_key="k",
        max_queued=1,
    )
    assert (again.id, created) == (first, False)


def test_a_quota_counts_only_the_queued_jobs_of_its_owner(database: Database) -> None:
    for owner in ("ada", "bob"):
        submit(database, owner)
        claim(database)
    submit(database, "bob")
    for _ in range(2):
        submissions.submit(
            database, spec(), owner="ada", device="cpu", device_reason="", max_queued=2
        )
    with pytest.raises(QuotaExceeded):
        submissions.submit(
            database, spec(), owner="ada", device="cpu", device_reason="", max_queued=2
        )


def test_the_same_cell_of_a_study_is_the_same_job(database: Database) -> None:
    with database.begin() as connection:
        row = {"id": new_id(), "name": "s", "owner": "ada", "spec": {}, "state": "active"}
        connection.execute(schema.study.insert().values(**row, fingerprint="f"))
    submit(database)  # also without a key, and not identified by the cell
    cell = {"study": str(row["id"]), "cell": "c"}
    answers = [
        submissions.submit(database, spec(), owner="ada", device="cpu", device_reason="", **cell)
        for _ in range(2)
    ]
    assert [created for _, created in answers] == [True, False]
    assert answers[0][0].id == answers[1][0].id


def test_a_queued_job_is_cancelled_at_once_and_never_claimed(database: Database) -> None:
    job = submit(database)
    assert changes.cancel(database, job.id).state == "cancelled"
    assert leases.claim(database, "cpu", "w", 30) is None


def test_a_running_job_is_asked_to_stop(database: Database) -> None:
    job = submit(database)
    held = claim(database)
    assert changes.cancel(database, job.id).state == "running"
    renewal = leases.renew(database, held, 30)
    assert renewal is not None
    assert renewal.cancel_requested
    assert leases.fail(database, held, OOM)
    assert reading.get(database, job.id).state == "cancelled"


def test_cancelling_twice_is_the_same_as_once(database: Database) -> None:
    job = submit(database)
    claim(database)
    changes.cancel(database, job.id)
    changes.cancel(database, job.id)
    kinds = [event.kind for event in events.since(database, job.id)]
    assert kinds.count("cancel_requested") == 1


def test_an_ended_job_cannot_be_cancelled(database: Database) -> None:
    job = submit(database)
    leases.finish(database, claim(database), Finished(step=1, summary={}))
    before = reading.get(database, job.id)
    with pytest.raises(Conflict, match="already succeeded"):
        changes.cancel(database, job.id)
    assert reading.get(database, job.id) == before


def test_a_retried_job_keeps_its_history_and_has_all_its_attempts_again(
    database: Database,
) -> None:
    job = submit(database, max_attempts=1)
    leases.fail(database, claim(database), OOM)
    assert reading.get(database, job.id).error is not None
    retried = changes.retry(database, job.id)
    assert (retried.state, retried.error, len(retried.attempts)) == ("queued", None, 1)
    assert claim(database).attempt == 2


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_only_a_failed_or_cancelled_job_can_be_retried(database: Database, state: str) -> None:
    job = submit(database)
    if state != "queued":
        held = claim(database)
        if state == "succeeded":
            leases.finish(database, held, Finished(step=1, summary={}))
    with pytest.raises(Conflict, match=f"is {state}"):
        changes.retry(database, job.id)
    assert reading.get(database, job.id).state == state


def test_the_events_of_a_job_are_in_order_and_readable_from_any_point(database: Database) -> None:
    job = submit(database)
    leases.finish(database, claim(database), Finished(step=3, summary={"x": float("nan")}))
    told = events.since(database, job.id)
    assert [event.kind for event in told] == ["queued", "running", "succeeded"]
    assert events.since(database, job.id, told[1].seq) == told[2:]
    assert events.since_of_all(database, EVERYTHING).events == told


def test_a_job_without_a_live_worker_says_that_it_waits_for_one(database: Database) -> None:
    job = submit(database, device="ipu")
    assert reading.get(database, job.id).waiting_for == "a worker for ipu: none is live now"
    workers.beat(
        database,
        worker="w",
        device="ipu",
        hostname="h",
        slots=1,
        busy=0,
        description="Mk2",
        memory_bytes=None,
        versions={},
    )
    assert reading.get(database, job.id).waiting_for == "its turn at a worker for ipu"


def test_the_queue_position_counts_the_jobs_ahead(database: Database) -> None:
    submit(database, priority=5)
    submit(database, priority=-5)
    assert reading.queue_position(database, "cpu") == 2
    assert reading.queue_position(database, "cuda") == 1


def test_jobs_are_counted_by_state_and_device(database: Database) -> None:
    submit(database)
    submit(database, device="ipu")
    claim(database)
    assert gauges.by_state(database) == {("running", "cpu"): 1, ("queued", "ipu"): 1}
