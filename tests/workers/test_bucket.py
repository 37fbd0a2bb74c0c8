"""Workers that share the database and a bucket, and no folder."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from normlab.errors import ServiceUnavailable
from normlab.events import ArtifactWritten, CheckpointWritten
from normlab.records import JobDetail
from normlab.specs.jobs import JobSpec
from service.jobs import changes, leases, reading, submissions
from service.jobs.leases import Lease
from service.results import artifacts, logs, metrics, reports
from service.settings import Settings
from service.storage.bucket import BucketStore
from service.storage.store import StoredFile
from service.store.database import Database
from service.store.identity import parse_id
from tests.s3 import Bucket
from workers.process import Launcher
from workers.reading import Harvest
from workers.supervisor import Supervisor
from workers.uploads import Uploads
from workers.warm_launcher import WarmLauncher

from .conftest import LONG, SHORT

SAVING = {**SHORT, "max_steps": 60, "checkpoint": {"every_steps": 20, "keep": 9}}


class Host:
    """A worker's host with its own data folder."""

    def __init__(
        self, database: Database, folder: Path, launcher: Launcher, url: str, **settings: Any
    ) -> None:
        self.folder = folder
        self.database = database
        self.leaving = threading.Event()
        values = {"lease_s": 20, "heartbeat_s": 1, "retry_backoff_s": 0, **settings}
        self.settings = Settings(data_dir=folder, storage=url, **values)
        store = BucketStore(url) if url else None
        self.supervisor = Supervisor(
            database, self.settings, launcher, 1, self.leaving, store=store
        )

    def submit(self, spec: dict[str, Any]) -> str:
        wanted = JobSpec.model_validate(spec)
        how = {"owner": "me", "device": "cpu", "device_reason": "it is asked for"}
        return submissions.submit(self.database, wanted, **how)[0].id

    def work(self) -> None:
        self.supervisor.work_on(claimed(self.database))

    @contextmanager
    def working(self) -> Iterator[None]:
        """Work in a thread; on leaving, wait until the attempt has ended."""
        thread = threading.Thread(target=self.work, daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            self.leaving.set()
            raise
        finally:
            thread.join(120)
            assert not thread.is_alive()


def claimed(database: Database) -> Lease:
    claim = leases.claim(database, "cpu", "a-worker", 20)
    assert claim is not None
    return claim


def until(condition: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def result(database: Database, job: str) -> tuple[Any, ...]:
    losses = metrics.read(database, job, "train/loss")
    files = {f.name: f.sha256 for f in artifacts.read_all(database, job)}
    return losses.steps, losses.values, files["weights.safetensors"]


def log(database: Database, job: str) -> str:
    return logs.read(database, job, 0, 1 << 20).text


@pytest.fixture
def hosts(
    database: Database, tmp_path: Path, warm: WarmLauncher, bucket: Bucket
) -> Callable[..., Host]:
    """Makes hosts with one bucket."""

    def make(name: str, url: str = bucket.url, **settings: Any) -> Host:
        return Host(database, tmp_path / name, warm, url, **settings)

    return make


def test_a_job_leaves_everything_in_the_bucket_and_nothing_on_its_host(
    database: Database, hosts: Callable[..., Host], bucket: Bucket
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
    database: Database, hosts: Callable[..., Host], bucket: Bucket
) -> None:
    one, two, alone = hosts("one", storage_patience_s=0.2), hosts("two"), hosts("alone", url="")
    one.supervisor = replace(one.supervisor, store=OnlyTheFirst(bucket.url))
    expected = alone.submit(SAVING)
    alone.work()
    job = one.submit(SAVING)
    one.work()
    two.work()
    assert _resumed_from(database, job) == 20
    assert result(database, job) == result(database, expected)


def test_weights_of_a_job_are_fetched_for_one_that_starts_from_them(
    database: Database, hosts: Callable[..., Host]
) -> None:
    one, two = hosts("one"), hosts("two")
    first = one.submit(SHORT)
    one.work()
    sha256 = artifacts.stored(database, first, "weights.safetensors").sha256
    then = two.submit({**SHORT, "init_from": {"sha256": sha256}})
    two.work()
    assert reading.get(database, then).state == "succeeded", log(database, then)


def _checkpoints(database: Database, job: str) -> list[int]:
    found = artifacts.read_all(database, job)
    return [int(f.step or 0) for f in found if f.kind == "checkpoint"]


def test_a_job_outlives_a_bucket_that_vanishes_and_says_so(
    database: Database, hosts: Callable[..., Host], bucket: Bucket
) -> None:
    one = hosts("one")
    job = one.submit(LONG)
    with one.working():
        until(lambda: bool(_checkpoints(database, job)))
        bucket.gate.shut()
        until(lambda: "cannot be stored now, it is tried again" in log(database, job))
        before, step = _checkpoints(database, job), reading.get(database, job).step
        until(lambda: reading.get(database, job).step > step)  # it trains on
        assert _checkpoints(database, job) == before
        bucket.gate.open()
        until(lambda: max(_checkpoints(database, job)) > max(before))
        changes.cancel(database, job)
    record = reading.get(database, job)
    assert (record.state, len(record.attempts)) == ("cancelled", 1)
    assert "is stored now\n" in log(database, job)


def test_a_cancelled_job_does_not_wait_for_a_bucket_that_is_away(
    database: Database, hosts: Callable[..., Host], bucket: Bucket
) -> None:
    one = hosts("one", grace_s=1)
    job = one.submit(LONG)
    with one.working():
        until(lambda: bool(_checkpoints(database, job)))
        bucket.gate.shut()
        until(lambda: "cannot be stored now" in log(database, job))
        changes.cancel(database, job)
    assert reading.get(database, job).state == "cancelled"


def test_an_attempt_whose_files_cannot_be_stored_fails_as_storage_and_is_tried_again(
    database: Database, hosts: Callable[..., Host], bucket: Bucket
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
    database: Database, hosts: Callable[..., Host], bucket: Bucket
) -> None:
    one = hosts("one")
    job = one.submit(LONG)
    with one.working():
        until(lambda: bool(_checkpoints(database, job)))
        one.leaving.set()
    kept = _checkpoints(database, job)
    bucket.gate.shut()
    hosts("two", storage_patience_s=0.2).work()
    record: JobDetail = reading.get(database, job)
    assert (record.state, record.attempts[1].failure_kind) == ("queued", "storage")
    assert _checkpoints(database, job) == kept


def test_a_damaged_checkpoint_in_the_bucket_is_passed_over(
    database: Database, hosts: Callable[..., Host], bucket: Bucket
) -> None:
    one = hosts("one")
    job = one.submit(LONG)
    with one.working():
        until(lambda: len(_checkpoints(database, job)) > 1)
        one.leaving.set()
    older, newest = sorted(_checkpoints(database, job))[-2:]
    bucket.write(artifacts.stored(database, job, f"step-{newest:09d}.pt").place, b"other bytes")
    two = hosts("two")
    with two.working():
        until(lambda: _resumed_from(database, job) is not None)
        changes.cancel(database, job)
    assert _resumed_from(database, job) == older


def _resumed_from(database: Database, job: str) -> int | None:
    """Return the step that the second attempt begins after, once that is known."""
    (_, *later) = reading.get(database, job).attempts
    return later[0].resumed_from_step if later else None


def test_objects_that_no_row_names_are_removed_and_no_later_attempts(
    database: Database, hosts: Callable[..., Host], bucket: Bucket, tmp_path: Path
) -> None:
    job = hosts("one").submit(LONG)
    claim = claimed(database)
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
    database: Database, hosts: Callable[..., Host], bucket: Bucket, tmp_path: Path
) -> None:
    job = hosts("one").submit(LONG)
    uploads = Uploads(BucketStore(bucket.url), database, claimed(database))
    path = tmp_path / job / "a.csv"
    path.parent.mkdir()
    path.write_bytes(b"12")
    uploads.pass_on(Harvest([ArtifactWritten(name="a.csv", path=str(path), sha256="ab", bytes=2)]))
    until(lambda: uploads.lost is not None)
    assert "the file a.csv cannot be stored" in str(uploads.lost)
    uploads.close()
    assert bucket.places() == []
