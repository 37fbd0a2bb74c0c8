"""Device hours and storage are counted exactly; limits on them hold jobs back or refuse them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from normlab.errors import InvalidSpec, QuotaExceeded
from normlab.events import ArtifactWritten, Finished, Metrics, Started
from normlab.records.limits import LimitRequest
from normlab.specs.studies import StudySpec
from service.jobs import allowances, changes, gauges, leases, quota, reading, submissions, trash
from service.jobs.leases import Lease
from service.results import reports
from service.storage.folder import FolderStore
from service.store.audit import Actor
from service.store.database import Database
from service.studies import changes as study_changes, purging, studies
from tests.service.work import claim, series, spec, submit

MOST = 20_000
MONTH = "(date_trunc('month', now() at time zone 'UTC') at time zone 'UTC')"
HERE: dict[str, Any] = {"place": lambda _: ("cpu", "a test"), "check": lambda _: []}


def allow(database: Database, subject: str, name: str, **limits: int | None) -> None:
    asked = LimitRequest.read({"subject": subject, "name": name, **limits})
    allowances.put(database, asked, Actor("root"))


def used(database: Database, what: str, subject: Any = "owner", name: str = "ada") -> float:
    found = {one.what: one.used for one in allowances.read(database, subject, name)}
    number = found[what]
    assert number is not None
    return number


def one(database: Database, owner: str = "ada", **fields: Any) -> str:
    return submissions.submit(
        database, spec(**fields), owner=owner, device="cpu", device_reason="", max_queued=MOST
    )[0].id


def a_study(database: Database, owner: str = "ada", **fields: Any) -> str:
    seeds = (0,) if "search" in fields else (0, 1)
    wanted = StudySpec(name="s", base={"normalizer": "batch"}, seeds=seeds, **fields)
    return studies.create(database, wanted, owner=owner, max_queued=MOST, **HERE)[0].id


def began(database: Database, lease: Lease, ago: str) -> None:
    """Move the beginning of an attempt into the past."""
    with database.begin() as connection:
        moved = text(f"update attempt set started_at = {ago} where job = :job")
        connection.execute(moved, {"job": lease.job})


def finish(database: Database, lease: Lease) -> None:
    assert leases.finish(database, lease, Finished(step=1, summary={}))


def write(database: Database, lease: Lease, size: int, name: str = "weights.pt") -> None:
    file = ArtifactWritten(name=name, path=f"/jobs/{lease.job}/{name}", sha256="0" * 64, bytes=size)
    assert reports.keep_all(database, lease, [file])


def test_device_hours_are_those_of_replicas_and_of_running_attempts_too(
    database: Database,
) -> None:
    submit(database, replicas=2, batch_size=8)
    lease = claim(database)
    began(database, lease, f"greatest({MONTH}, clock_timestamp() - interval '3 hours')")
    while_running = used(database, "device_hours_per_month")
    finish(database, lease)
    afterwards = used(database, "device_hours_per_month")
    with database.begin() as connection:
        hours = connection.execute(text(
            "select 2 * extract(epoch from ended_at - started_at)::float8 / 3600 from attempt"
        )).scalar()  # fmt: skip
    assert while_running <= afterwards == pytest.approx(hours, abs=0.001)
    assert used(database, "device_hours_per_month", "project", "default") == afterwards


def test_an_attempt_over_the_end_of_a_month_counts_in_both(database: Database) -> None:
    submit(database)
    lease = claim(database)
    with database.begin() as connection:
        connection.execute(text(
            "update attempt set started_at = '2026-01-31 22:00Z', ended_at = null"
        ))  # fmt: skip
        leases.give_back(connection, lease.job, lease.attempt, "", no_later="2026-02-01 03:00Z")
        rows = connection.execute(text("select month::text, device_s from device_time order by 1"))
        assert rows.all() == [("2026-01-01", 7200.0), ("2026-02-01", 10800.0)]


def test_members_of_a_pack_share_its_device_time(database: Database) -> None:
    submit(database)
    lease = claim(database)
    started = Started(step=0, environment={"packed": 4, "timing_valid": False})
    assert reports.keep_all(database, lease, [started])
    with database.begin() as connection:
        moved = "update attempt set started_at = '2026-01-01 00:00Z'"
        connection.execute(text(moved))
        leases.give_back(connection, lease.job, lease.attempt, "", no_later="2026-01-01 04:00Z")
        assert connection.execute(text("select device_s from device_time")).scalar() == 3600.0


def test_a_job_of_an_owner_without_device_hours_waits_and_says_how_many_were_used(
    database: Database,
) -> None:
    allow(database, "owner", "ada", device_hours_per_month=1)
    for owner in ("ada", "ada", "bob"):
        submit(database, owner)
    lease = claim(database)
    assert lease.owner == "ada"
    with database.begin() as connection:  # 90 minutes in all, whatever the day of the month is
        spent = "insert into device_time values ('ada', 'default', {}, 5400)"
        month = "date_trunc('month', now() at time zone 'UTC')::date"
        connection.execute(text(spent.format(month)))
    assert claim(database).owner == "bob"
    assert leases.claim(database, "cpu", "w", 30) is None
    finish(database, lease)
    waiting = one(database)
    found = reading.get(database, waiting).waiting_for
    assert found is not None
    assert found.startswith(
        "the next month (UTC): owner 'ada' may use 1 device hours in a month, and has used 1.50"
    )
    allow(database, "owner", "ada", device_hours_per_month=2)
    assert claim(database).owner == "ada"


def test_what_was_used_in_other_months_does_not_count(database: Database) -> None:
    allow(database, "project", "*", device_hours_per_month=1)
    with database.begin() as connection:
        connection.execute(text("insert into device_time values"
                                " ('ada', 'default', '2020-01-01', 1e9)"))  # fmt: skip
    submit(database)
    assert claim(database)


def test_purging_a_job_frees_its_storage_and_gives_no_device_time_back(
    database: Database, tmp_path: Path
) -> None:
    job = one(database)
    lease = claim(database)
    write(database, lease, 1000)
    with database.begin() as connection:
        spent = "insert into device_time values ('ada', 'default', :month, 7200)"
        this = connection.execute(
            text("select date_trunc('month', now() at time zone 'UTC')::date")
        ).scalar()
        connection.execute(text(spent), {"month": this})
    finish(database, lease)
    trash.trash(database, job)
    assert used(database, "storage_bytes") == 1000
    assert purging.Purger(database, FolderStore(tmp_path), 0).round() == 1
    assert used(database, "storage_bytes") == 0
    assert used(database, "device_hours_per_month") >= 2


def test_storage_is_that_of_files_curves_and_logs_while_a_job_runs_and_after_it(
    database: Database,
) -> None:
    one(database)
    lease = claim(database)
    write(database, lease, 1000)
    write(database, lease, 600)  # the same file again
    assert used(database, "storage_bytes") == 600
    assert reports.keep_all(database, lease, [Metrics(series={"train/loss": series(1, 2)})], b"ab")
    running = used(database, "storage_bytes")
    assert running > 602
    finish(database, lease)
    assert used(database, "storage_bytes") == running
    assert used(database, "storage_bytes", "project", "default") == running


def full(database: Database, subject: str, name: str) -> Lease:
    """Let *name* keep more than it may; return the lease of the job that has written it."""
    one(database)
    lease = claim(database)
    write(database, lease, 5000)
    allow(database, subject, name, storage_bytes=4096)
    return lease


@pytest.mark.parametrize(("subject", "name"), [("owner", "ada"), ("project", "default")])
def test_an_owner_without_storage_may_add_nothing_and_is_told_how_to_make_room(
    database: Database, subject: str, name: str
) -> None:
    finish(database, full(database, subject, name))
    words = f"{name!r} keeps 4.9 KiB, and may keep 4.0 KiB: make room with normlab rm"
    with pytest.raises(QuotaExceeded, match=words):
        one(database)
    with pytest.raises(QuotaExceeded, match=words):
        a_study(database)
    with database.begin() as connection:  # searches and studies that decide ask for room
        assert quota.room(connection, "ada", "default", MOST, 5) == 0
    assert gauges.by_state(database) == {("succeeded", "cpu"): 1}
    if subject == "owner":
        one(database, "bob")
    allow(database, subject, name, storage_bytes=6000)
    one(database)


def test_a_retry_and_a_completion_need_storage_too(database: Database) -> None:
    cancelled, study = one(database), a_study(database)
    changes.cancel(database, cancelled)
    studies.cancel(database, study)
    finish(database, full(database, "owner", "ada"))
    with pytest.raises(QuotaExceeded, match="make room"):
        changes.retry(database, cancelled, MOST)
    with pytest.raises(QuotaExceeded, match="make room"):
        studies.complete(database, study, place=HERE["place"], max_queued=MOST)


def test_queued_jobs_wait_while_there_is_no_storage_and_start_when_there_is(
    database: Database, tmp_path: Path
) -> None:
    waiting = one(database)
    lease = claim(database)
    write(database, lease, 5000)
    waiting = one(database)
    allow(database, "owner", "ada", storage_bytes=4096)
    assert leases.claim(database, "cpu", "w", 30) is None
    found = reading.get(database, waiting).waiting_for
    assert found is not None
    assert found.startswith(
        "storage: owner 'ada' may keep 4.0 KiB, and keeps 4.9 KiB (make room with normlab rm"
    )
    finish(database, lease)
    trash.trash(database, str(lease.job))
    purging.Purger(database, FolderStore(tmp_path), 0).round()
    assert str(claim(database).job) == waiting


@pytest.mark.parametrize(("subject", "name"), [("owner", "ada"), ("project", "default")])
def test_nobody_gets_a_higher_priority_than_is_allowed(
    database: Database, subject: str, name: str
) -> None:
    allow(database, subject, name, priority=3)
    one(database, priority=3)
    study = a_study(database, priority=3)
    with pytest.raises(InvalidSpec, match="priority: 4 is above 3, the highest"):
        one(database, priority=4)
    with pytest.raises(InvalidSpec, match="4 is above 3"):
        a_study(database, priority=4, axes={"batch_size": [8]})
    with pytest.raises(InvalidSpec, match="9 is above 3"):
        a_study(database, axes={"priority": [9, 0]})
    with pytest.raises(InvalidSpec, match="4 is above 3"):
        study_changes.set_priority(database, study, 4)
    search = {"metric": "val/loss", "trials": 4, "space": {"priority": {"choices": [0, 7, 1]}}}
    with pytest.raises(InvalidSpec, match="7 is above 3"):
        a_study(database, search=search)
    assert gauges.by_state(database) == {("queued", "cpu"): 3}
    allow(database, subject, name, priority=None)
    one(database, priority=100)
