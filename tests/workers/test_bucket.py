"""Workers that share the database and a bucket, and no folder."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from normlab.errors import ServiceUnavailable
from normlab.events import ArtifactWritten, CheckpointWritten
from normlab.records import JobDetail
from service.jobs import changes, reading
from service.results import artifacts, logs, reports
from service.storage.bucket import BucketStore
from service.storage.store import StoredFile
from service.store.database import Database
from service.store.identity import parse_id
from tests.s3 import Bucket
from workers.reading import Harvest
from workers.uploads import Uploads
from workers.warm_launcher import WarmLauncher

from .bench import Bench
from .conftest import LONG, SHORT

Hosts = Callable[..., Bench]
SAVING = {**SHORT, "max_steps": 60, "checkpoint": {"every_steps": 20, "keep": 9}}


def until(condition: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def log(database: Database, job: str) -> str:
    return logs.read(database, job, 0, 1 << 20).text


@pytest.fixture
def hosts(database: Database, tmp_path: Path, warm: WarmLauncher, bucket: Bucket) -> Hosts:
    """Makes workers' hosts with data folders of their own and one bucket."""

    def make(name: str, url: str = bucket.url, **settings: Any) -> Bench:
        values = {"lease_s": 20, "heartbeat_s": 1, "storage": url, **settings}
        return Bench(database, tmp_path / name, warm, **values)

    return make


def test_a_job_leaves_everything_in_the_bucket_and_nothing_on_its_host(
    database: Database, hosts: Hosts, bucket: Bucket
) -> None:
    one = hosts("one")
    job = one.submit(SAVING)
    one.work()
    assert reading.get(database, job).state == "succeeded"
    recorded = artifacts.recorded_places(database, parse_id(job))
    assert bucket.places() == sorted(recorded)
    weights = artifacts.stored(database, job, "weights.safetensors")
    path = BucketStore(bucket.url).fetch(weights, one.folder / "copies")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == weights.sha256
    assert not (one.folder / "jobs").exists()
    assert [p for p in (one.folder / "scratch").rglob("*") if p.is_file()] == []


class OnlyTheFirst(BucketStore):
    """A bucket that answers only for the first checkpoint."""

    def put(self, source: Path, file: StoredFile) -> None:
        if "step-000000020" not in file.place:
            raise ServiceUnavailable("it is away")
        super().put(source, file)


def test_a_job_goes_on_on_another_host_with_the_same_bits(
    database: Database, hosts: Hosts, bucket: Bucket
) -> None:
    one, two, alone = hosts("one", storage_patience_s=0.2), hosts("two"), hosts("alone", url="")
    one.supervisor = replace(one.supervisor, store=OnlyTheFirst(bucket.url))
    expected = alone.submit(SAVING)
    alone.work()
    job = one.submit(SAVING)
    one.work()
    two.work()
    assert _resumed_from(database, job) == 20
    assert two.result(job) == alone.result(expected)


def test_weights_of_a_job_are_fetched_for_one_that_starts_from_them(
    database: Database, hosts: Hosts
) -> None:
    one, two = hosts("one"), hosts("two")
    first = one.submit(SHORT)
    one.work()
    sha256 = artifacts.stored(database, first, "weights.safetensors").sha256
    then = two.submit({**SHORT, "init_from": {"sha256": sha256}})
    two.work()
    assert reading.get(database, then).state == "succeeded", log(database, then)


def test_a_job_outlives_a_bucket_that_vanishes_and_says_so(
    database: Database, hosts: Hosts, bucket: Bucket
) -> None:
    one = hosts("one")
    with one.saving(LONG) as job:
        bucket.gate.shut()
        until(lambda: "cannot be stored now and is tried again" in log(database, job))
        before, step = one.saved_steps(job), reading.get(database, job).step
        until(lambda: reading.get(database, job).step > step)  # it continues to train
        assert one.saved_steps(job) == before
        bucket.gate.open()
        until(lambda: max(one.saved_steps(job)) > max(before))
        changes.cancel(database, job)
    record = reading.get(database, job)
    assert (record.state, len(record.attempts)) == ("cancelled", 1)
    assert "is stored now\n" in log(database, job)


def test_a_cancelled_job_does_not_wait_for_a_bucket_that_is_away(
    database: Database, hosts: Hosts, bucket: Bucket
) -> None:
    with hosts("one", grace_s=1).saving(LONG) as job:
        bucket.gate.shut()
        until(lambda: "cannot be stored now" in log(database, job))
        changes.cancel(database, job)
    assert reading.get(database, job).state == "cancelled"


def test_an_attempt_whose_files_cannot_be_stored_fails_as_storage_and_is_tried_again(
    database: Database, hosts: Hosts, bucket: Bucket
) -> None:
    one = hosts("one", storage_patience_s=0.2)
    job = one.submit(SAVING)
    bucket.gate.shut()
    one.work()
    queued = reading.get(database, job)
    assert (queued.state, queued.attempts[0].failure_kind) == ("queued", "storage")
    assert "its files could not be stored" in str(queued.attempts[0].message)
    bucket.gate.open()
    hosts("two").work()
    assert reading.get(database, job).state == "succeeded"


def test_an_attempt_that_cannot_fetch_its_checkpoint_fails_as_storage(
    database: Database, hosts: Hosts, bucket: Bucket
) -> None:
    one = hosts("one")
    with one.saving(LONG) as job:
        one.leaving.set()
    kept = one.saved_steps(job)
    bucket.gate.shut()
    hosts("two", storage_patience_s=0.2).work()
    record: JobDetail = reading.get(database, job)
    assert (record.state, record.attempts[1].failure_kind) == ("queued", "storage")
    assert one.saved_steps(job) == kept


def test_a_damaged_checkpoint_in_the_bucket_is_passed_over(
    database: Database, hosts: Hosts, bucket: Bucket
) -> None:
    one = hosts("one")
    with one.saving(LONG, checkpoints=2) as job:
        one.leaving.set()
    older, newest = sorted(one.saved_steps(job))[-2:]
    bucket.write(artifacts.stored(database, job, f"step-{newest:09d}.pt").place, b"other bytes")
    two = hosts("two")
    with two.working():
        until(lambda: _resumed_from(database, job) is not None)
        changes.cancel(database, job)
    assert _resumed_from(database, job) == older


def _resumed_from(database: Database, job: str) -> int | None:
    """Return the step after which the second attempt begins, once it is known."""
    (_, *later) = reading.get(database, job).attempts
    return later[0].resumed_from_step if later else None


def test_objects_that_no_row_names_are_removed_and_no_later_attempts(
    database: Database, hosts: Hosts, bucket: Bucket, tmp_path: Path
) -> None:
    one = hosts("one")
    job, claim = one.submit(LONG), one.claim()
    uploads = Uploads(BucketStore(bucket.url), database, claim)
    for later in ("attempt-2/checkpoints/x.pt", "attempt-0/lost.pt"):
        bucket.write(f"{job}/{later}", b"x")
    events = [_written(tmp_path, job, step) for step in (1, 2, 3)]
    stored = uploads.pass_on(Harvest([*events], b"")).events
    while len(stored) < 3:
        uploads.wait(1)
        stored += uploads.pass_on(Harvest()).events
    assert reports.keep_all(database, claim, stored[:2])  # the third comes too late
    uploads.close()
    kept = [f"{job}/attempt-1/checkpoints/step-{step:09d}.pt" for step in (1, 2)]
    assert bucket.places() == [*kept, f"{job}/attempt-2/checkpoints/x.pt"]


def _written(folder: Path, job: str, step: int) -> CheckpointWritten:
    path = folder / job / "attempt-1" / "checkpoints" / f"step-{step:09d}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"c" * step)
    sha256 = hashlib.sha256(b"c" * step).hexdigest()
    return CheckpointWritten(step=step, path=str(path), sha256=sha256, bytes=step)


def test_a_result_that_is_not_what_the_job_wrote_is_no_success(
    database: Database, hosts: Hosts, bucket: Bucket, tmp_path: Path
) -> None:
    one = hosts("one")
    job = one.submit(LONG)
    uploads = Uploads(BucketStore(bucket.url), database, one.claim())
    path = tmp_path / job / "a.csv"
    path.parent.mkdir()
    path.write_bytes(b"12")
    uploads.pass_on(Harvest([ArtifactWritten(name="a.csv", path=str(path), sha256="ab", bytes=2)]))
    until(lambda: uploads.lost is not None)
    assert "the file a.csv cannot be stored" in str(uploads.lost)
    uploads.close()
    assert bucket.places() == []
