"""A backup of a working stack, restored elsewhere, finishes its jobs with the same bits."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from normlab.cli.application import run
from service.results import artifacts
from service.servers import embedded
from service.settings import Settings
from service.storage.bucket import BucketStore
from service.store.database import Database
from service.store.releases import Announcement
from tests.s3 import Bucket
from workers.warm_launcher import WarmLauncher

from .bench import Bench
from .conftest import LONG, SHORT


@contextmanager
def held_still(bench: Bench, job: str) -> Iterator[None]:
    """Work on *job* in a thread; after its first checkpoint, its process is stopped."""
    with bench.working():
        bench.until_saved(job)
        os.killpg(bench.launcher.started[-1].pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(bench.launcher.started[-1].pid, signal.SIGCONT)


def test_a_backup_of_a_working_stack_finishes_its_jobs_elsewhere_with_the_same_bits(
    database: Database,
    tmp_path: Path,
    open_folder: Path,
    warm: WarmLauncher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = Bench(database, tmp_path / "here", warm, lease_s=60)
    ended = here.submit(SHORT)
    here.work()
    torn = here.submit({**LONG, "epochs": 20, "max_attempts": 1})
    waiting = here.submit({**SHORT, "seed": 2})
    target = tmp_path / "monday.tar"
    with held_still(here, torn), monkeypatch.context() as environment:
        environment.setenv("NORMLAB_DATABASE_URL", database.conninfo)
        assert run(["--data-dir", str(tmp_path / "here"), "backup", str(target)]) == 0
    here.work()
    there = open_folder / "there"
    assert run(["restore", "--from", str(target), "--into", str(there)]) == 0
    (tmp_path / "here" / "jobs").rename(tmp_path / "gone")
    servers = embedded.start(Settings(data_dir=there, database_url=None, broker_url="memory://"))
    try:
        with Database(servers.database_url) as restored:
            elsewhere = Bench(restored, there, warm, lease_s=60)
            elsewhere.work()
            elsewhere.work()
            for job in (ended, torn, waiting):
                assert elsewhere.result(job) == here.result(job)
            attempts = elsewhere.job(torn).attempts
            assert [attempt.outcome for attempt in attempts] == ["released", "succeeded"]
            assert (attempts[1].resumed_from_step or 0) > 0
    finally:
        servers.stop()


def test_a_backup_of_a_working_stack_with_a_bucket_finishes_its_jobs_in_another_bucket(
    database: Database,
    tmp_path: Path,
    open_folder: Path,
    warm: WarmLauncher,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Announcement(database, storage=bucket.url).round()
    here = Bench(database, tmp_path / "here", warm, lease_s=60, storage=bucket.url)
    ended = here.submit(SHORT)
    here.work()
    saved = {"every_steps": 100, "every_s": 3600}
    torn = here.submit({**LONG, "epochs": 20, "max_attempts": 1, "checkpoint": saved})
    target, there = tmp_path / "monday", open_folder / "there"
    other = f"s3://{bucket.name}/other"
    with held_still(here, torn), monkeypatch.context() as environment:
        environment.setenv("NORMLAB_DATABASE_URL", database.conninfo)
        environment.setenv("NORMLAB_STORAGE", bucket.url)
        assert run(["--data-dir", str(tmp_path / "here"), "backup", str(target)]) == 0
    with monkeypatch.context() as environment:
        environment.setenv("NORMLAB_STORAGE", other)
        assert run(["restore", "--from", str(target), "--into", str(there)]) == 0
    BucketStore(bucket.url).remove(bucket.places())
    servers = embedded.start(Settings(data_dir=there, database_url=None, broker_url="memory://"))
    try:
        with Database(servers.database_url) as restored:
            elsewhere = Bench(restored, there, warm, lease_s=60, storage=other)
            elsewhere.work()
            for job in (ended, torn):
                assert elsewhere.result(job) == here.result(job)
            attempts = elsewhere.job(torn).attempts
            assert [attempt.outcome for attempt in attempts] == ["released", "succeeded"]
            assert (attempts[1].resumed_from_step or 0) > 0
            weights = artifacts.stored(restored, torn, "weights.safetensors")
            assert b"".join(BucketStore(other).pieces(weights.place, 0, weights.bytes))
    finally:
        servers.stop()
