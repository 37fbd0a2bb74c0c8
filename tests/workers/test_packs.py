"""A pack is one process, and each member is a separate job."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from normlab.records import JobDetail
from normlab.specs.studies import StudySpec
from service.jobs import changes, leases
from service.jobs.leases import Lease
from service.jobs.pack_leases import with_mates
from service.results import artifacts
from service.storage.bucket import BucketStore
from service.store.database import Database
from service.studies import studies
from tests.s3 import Bucket
from tests.workers.bench import LEASE_S, Bench
from workers.job_order import JobOrder
from workers.pack_supervisor import work_on
from workers.process import JobProcess, Launcher
from workers.warm_launcher import WarmLauncher

from .conftest import LONG, SHORT

_LIMIT = text("update job set time_limit_s = 2 where id = :job")
_JOBS = text("""
    select job.id from job join study on study.id = job.study
    order by study.created_at, (job.spec ->> 'seed')::int
""")


class PackBench(Bench):
    """A database, a supervisor, and studies whose cells are packs of three."""

    device = "cpu"

    def queue(self, base: dict[str, Any], **fields: Any) -> list[str]:
        asked = {"name": "s", "base": base, "seeds": 3, "pack": 3, **fields}
        place = (self.device, "it is asked for")
        studies.create(
            self.database,
            StudySpec.model_validate(asked),
            owner="me",
            place=lambda _: place,
            check=lambda _: [],
        )
        with self.database.begin() as connection:
            found: list[UUID] = list(connection.execute(_JOBS).scalars())
        return [str(job) for job in found]

    def claim(self) -> Lease:
        alone = leases.claim(self.database, self.device, "a-worker", LEASE_S)
        assert alone is not None
        return with_mates(self.database, alone, LEASE_S)

    def work(self) -> None:
        work_on(self.supervisor, self.claim())

    @contextmanager
    def training(self, jobs: list[str]) -> Iterator[None]:
        """Work in a thread until all *jobs* learn; on leaving, wait for the end of all."""
        with self.working():
            for job in jobs:
                self.until(job, lambda record: record.step > 0)
            yield


def outcomes(bench: Bench, jobs: list[str]) -> list[tuple[str, int]]:
    records: list[JobDetail] = [bench.job(job) for job in jobs]
    return [(record.state, record.attempt) for record in records]


def begun(attempt: int, job: JobDetail) -> bool:
    return job.attempt == attempt and bool(job.attempts[-1].environment)


@pytest.fixture
def bench(database: Database, tmp_path: Path, warm: WarmLauncher) -> PackBench:
    return PackBench(database, tmp_path, warm)


def test_a_pack_is_one_process_and_each_member_has_its_own_results(bench: PackBench) -> None:
    jobs = bench.queue(SHORT)
    bench.work()
    assert len(bench.launcher.started) == 1
    assert outcomes(bench, jobs) == 3 * [("succeeded", 1)]
    for job in jobs:
        record = bench.job(job)
        assert record.attempts[0].environment["packed"] == 3
        assert (record.runtime, record.timing_valid) == ("packed", False)
        assert record.last["device/cpu_percent"].value is not None
        assert bench.losses(job)[0] == list(range(1, 21))
    assert len({tuple(bench.losses(job)[1]) for job in jobs}) == 3
    assert bench.nothing_is_left()


def test_a_pack_for_the_emulation_is_one_process_there(bench: PackBench) -> None:
    bench.device = "ipu"
    jobs = bench.queue({**SHORT, "device": "ipu", "ipu_runtime": "emulated"})
    bench.work()
    assert len(bench.launcher.started) == 1
    assert outcomes(bench, jobs) == 3 * [("succeeded", 1)]
    for job in jobs:
        record = bench.job(job)
        assert (record.runtime, record.packed) == ("host-emulation", 3)
        assert record.attempts[0].environment["device"] == "ipu"


def test_each_member_stores_its_own_files_in_a_bucket(
    bench: PackBench, bucket: Bucket, tmp_path: Path
) -> None:
    bench.supervisor = replace(
        bench.supervisor, store=BucketStore(bucket.url), scratch=tmp_path / "scratch"
    )
    jobs = bench.queue(SHORT)
    bench.work()
    assert outcomes(bench, jobs) == 3 * [("succeeded", 1)]
    recorded = [artifacts.recorded_places(bench.database, UUID(job)) for job in jobs]
    assert bucket.places() == sorted(set().union(*recorded))
    assert all(f"{job}/attempt-1/" in min(own) for job, own in zip(jobs, recorded))
    assert [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()] == []


def test_a_cancelled_member_leaves_and_the_others_go_on(bench: PackBench) -> None:
    jobs = bench.queue(LONG)
    with bench.training(jobs):
        changes.cancel(bench.database, jobs[1])
        bench.until(jobs[1], lambda record: record.state == "cancelled")
        step = bench.job(jobs[0]).step
        bench.until(jobs[0], lambda record: record.step > step)
        for job in (jobs[0], jobs[2]):
            changes.cancel(bench.database, job)
    assert outcomes(bench, jobs) == 3 * [("cancelled", 1)]
    assert bench.nothing_is_left()


def test_a_member_that_diverges_fails_alone(bench: PackBench) -> None:
    # each update multiplies the weights of the second by -9999
    rates = [{"optimizer.lr": [0.1, 1000.0], "optimizer.weight_decay": [0.0, 10.0]}]
    base = {**SHORT, "normalizer": "none"}
    jobs = bench.queue(base, axes=rates, seeds=1, pack=2)
    bench.work()
    by_rate = {bench.job(job).spec.optimizer.lr: bench.job(job) for job in jobs}
    assert by_rate[0.1].state == "succeeded"
    assert by_rate[1000.0].state == "failed"
    assert by_rate[1000.0].error is not None
    assert by_rate[1000.0].error.code == "loss_not_finite"


def test_a_killed_pack_comes_back_with_the_same_members_and_the_same_bits(
    bench: PackBench,
) -> None:
    base = {**LONG, "epochs": 10}
    whole = bench.queue(base)
    bench.work()
    torn = bench.queue(base, name="torn", reuse=False)[3:]
    with bench.training(torn):
        for job in torn:
            bench.until(job, lambda record: record.step > 20)
        os.kill(bench.launcher.started[-1].pid, signal.SIGKILL)
    assert outcomes(bench, torn) == 3 * [("queued", 1)]
    bench.work()
    assert [1 + len(order.mates) for order in bench.launcher.orders] == [3, 3, 3]
    assert outcomes(bench, torn) == 3 * [("succeeded", 2)]
    for job, undisturbed in zip(torn, whole):
        assert bench.job(job).attempts[1].resumed_from_step > 0
        assert bench.losses(job) == bench.losses(undisturbed)


def test_members_of_a_pack_that_is_killed_twice_go_on_alone(bench: PackBench) -> None:
    jobs = bench.queue({**LONG, "epochs": 10, "max_attempts": 1})
    for attempt in (1, 2):
        with bench.working():
            for job in jobs:
                bench.until(job, partial(begun, attempt))
            os.kill(bench.launcher.started[-1].pid, signal.SIGKILL)
        assert outcomes(bench, jobs) == 3 * [("queued", attempt)]
    assert "was lost" in (bench.job(jobs[0]).attempts[0].message or "")
    for _ in jobs:
        bench.work()
    assert [1 + len(order.mates) for order in bench.launcher.orders] == [3, 3, 1, 1, 1]
    assert outcomes(bench, jobs) == 3 * [("succeeded", 3)]
    for job in jobs:
        assert bench.losses(job)[0] == list(range(1, bench.job(job).step + 1))


class Cramped:
    """A launcher that leaves no memory to packs of more than two."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def start(self, order: JobOrder) -> JobProcess:
        room = 2**20 if len(order.mates) > 1 else None
        return self._launcher.start(order.model_copy(update={"memory_bytes": room}))


def test_a_pack_that_does_not_fit_into_memory_is_split(
    database: Database, tmp_path: Path, warm: WarmLauncher
) -> None:
    bench = PackBench(database, tmp_path, Cramped(warm))
    jobs = bench.queue({**SHORT, "max_attempts": 1}, seeds=4, pack=4)
    for _ in range(3):
        bench.work()
    assert [1 + len(order.mates) for order in bench.launcher.orders] == [4, 2, 2]
    assert outcomes(bench, jobs) == 4 * [("succeeded", 2)]
    first = bench.job(jobs[0]).attempts[0]
    said = "did not fit into memory; its members continue in packs of at most 2"
    assert said in (first.message or "")


def test_the_time_limit_of_a_member_ends_that_member_alone(bench: PackBench) -> None:
    limited, free = bench.queue({**LONG, "epochs": 1000}, seeds=2, pack=2)
    with bench.database.begin() as connection:
        connection.execute(_LIMIT, {"job": limited})
    with bench.training([free]):
        bench.until(limited, lambda record: record.state == "failed")
        step = bench.job(free).step
        bench.until(free, lambda record: record.step > step)
        changes.cancel(bench.database, free)
    assert outcomes(bench, [free]) == [("cancelled", 1)]
    error = bench.job(limited).error
    assert error is not None
    assert "time_limit_s" in error.message


def test_a_drained_pack_goes_on_as_a_pack_from_the_same_step(bench: PackBench) -> None:
    jobs = bench.queue(LONG)
    with bench.training(jobs):
        bench.leaving.set()
    assert outcomes(bench, jobs) == 3 * [("queued", 1)]
    bench.leaving.clear()
    claim = bench.claim()
    assert len(claim.mates) == 2
    assert len({one.resume[0].step for one in (claim, *claim.mates)}) == 1
    thread = threading.Thread(target=work_on, args=(bench.supervisor, claim), daemon=True)
    thread.start()
    for job in jobs:
        bench.until(job, lambda record: record.step > claim.resume[0].step)
        changes.cancel(bench.database, job)
    thread.join(240)
    assert outcomes(bench, jobs) == 3 * [("cancelled", 2)]


def test_a_member_that_cannot_be_trained_fails_alone_with_its_own_message(
    bench: PackBench,
) -> None:
    base = {**SHORT, "dataset": {"name": "mnist"}, "max_attempts": 1}  # whose files are not there
    jobs = bench.queue(base, seeds=2, pack=2)
    bench.work()
    assert outcomes(bench, jobs) == 2 * [("queued", 1)]
    for _ in jobs:
        bench.work()
    assert outcomes(bench, jobs) == 2 * [("failed", 2)]
    for job in jobs:
        error = bench.job(job).error
        assert error is not None
        assert "mnist" in error.message
