"""Jobs are counted by triggers, whatever happens to them and whoever adds up the counts."""

from __future__ import annotations

import threading
from collections import Counter

from sqlalchemy import text

from normlab.events import Finished
from service.jobs import changes, gauges, leases, trash
from service.store.database import Database
from tests.service.work import claim, submit


def really(database: Database) -> dict[tuple[str, str], int]:
    """Count the rows themselves."""
    query = text("select state, device from job where trashed_at is null")
    with database.autocommit() as connection:
        return dict(Counter((row.state, row.device) for row in connection.execute(query)))


MOVES = ("submit", "copy", "claim", "finish", "cancel", "retry", "trash", "delete", "add up")
COPY = text("""
    insert into job (id, owner, request_hash, spec, fingerprint, normalizer, proxy, model, dataset,
        batch_size, samples_per_update, seed, device, device_reason, priority, max_attempts, epochs)
    select gen_random_uuid(), owner, request_hash, spec, fingerprint, normalizer, proxy, model,
        dataset, batch_size, samples_per_update, seed, d, device_reason, priority, max_attempts,
        epochs from job, unnest(array['cuda', 'ipu']) as d where job.device = 'cpu' limit 4
""")


def _move(database: Database, what: str, job: str) -> None:
    if what == "claim":
        leases.claim(database, "cpu", "w", 30)
    elif what == "finish":
        found = leases.claim(database, "cpu", "w", 30)
        if found is not None:
            leases.finish(database, found, Finished(step=1, summary={}))
    elif what in ("copy", "delete"):
        statement = COPY if what == "copy" else text("delete from job where device = 'cuda'")
        with database.begin() as connection:
            connection.execute(statement)
    elif what == "trash":
        trash.trash(database, job)
        trash.restore(database, job)
        trash.trash(database, job)
    elif what == "retry":
        changes.retry(database, job)


def test_the_counts_are_those_of_the_jobs_after_each_move(database: Database) -> None:
    for what in (*MOVES, *reversed(MOVES)):
        job = submit(database).id
        if what in ("cancel", "retry", "trash"):
            changes.cancel(database, job)
        if what == "add up":
            gauges.add_up(database)
        else:
            _move(database, what, job)
        assert gauges.by_state(database) == really(database), what


def test_any_number_may_add_up_at_the_same_time(database: Database) -> None:
    for _ in range(20):
        submit(database)
    noted: list[int] = []
    adding = [
        threading.Thread(target=lambda: noted.append(gauges.add_up(database))) for _ in range(4)
    ]
    for thread in adding:
        thread.start()
    for thread in adding:
        thread.join()
    assert sum(noted) == 20
    assert gauges.by_state(database) == {("queued", "cpu"): 20}
    assert gauges.add_up(database) == 0


def test_moving_a_job_does_not_wait_while_counts_are_added_up(
    database: Database, database_url: str
) -> None:
    submit(database)
    submit(database)
    gauges.add_up(database)
    lease = claim(database)
    with Database(database_url, statement_s=10) as other, database.begin() as connection:
        connection.execute(gauges._ADD_UP)
        leases.finish(other, lease, Finished(step=1, summary={}))  # it would be cancelled
    assert gauges.by_state(database) == {("queued", "cpu"): 1, ("succeeded", "cpu"): 1}


def test_the_longest_wait_is_that_of_a_job_that_may_start(database: Database) -> None:
    ages = {"held back": 50, "cancelled": 40, "pausing": 30, "paused": 20, "next": 10}
    for name in ages:
        submit(database, name=name)
    with database.begin() as connection:
        connection.execute(
            text("update job set created_at = clock_timestamp() - :age * interval '1 hour' "
                 "where name = :name"),
            [{"name": name, "age": age} for name, age in ages.items()],
        )  # fmt: skip
        for change in (
            "study = (select id from study) where name = 'held back'",
            "cancel_requested = true where name = 'cancelled'",
            "not_before = clock_timestamp() + interval '1 hour' where name = 'pausing'",
            "not_before = created_at + interval '5 hours' where name = 'paused'",
        ):
            if "study" in change:
                connection.execute(text(
                    "insert into study (id, name, owner, spec, state, fingerprint)"
                    " values (gen_random_uuid(), 's', 'ada', '{}', 'paused', 'f')"))  # fmt: skip
            connection.execute(text(f"update job set {change}"))
    (row,) = gauges.by_device(database)
    assert round(row.waits_s / 3600) == 15  # the pause that is over ended 15 hours ago
    assert row.lease_left_s is None
