"""A database, a data folder, and the supervision of a worker in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from normlab.records import JobDetail
from normlab.specs.jobs import JobSpec
from service.jobs import leases, reading, submissions
from service.jobs.leases import Lease
from service.results import artifacts, metrics
from service.settings import Settings
from service.storage.bucket import BucketStore
from service.store.database import Database
from tests.processes import number_is_free
from workers.job_order import JobOrder
from workers.process import JobProcess, Launcher
from workers.supervisor import Supervisor

LEASE_S = 1.0


class Recording:
    """A launcher that records the processes that it started."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self.started: list[JobProcess] = []
        self.orders: list[JobOrder] = []

    def start(self, order: JobOrder) -> JobProcess:
        self.orders.append(order)
        self.started.append(self._launcher.start(order))
        return self.started[-1]


class Bench:
    """Jobs on *database*, and a supervisor for them whose files are below *folder*."""

    def __init__(
        self, database: Database, folder: Path, launcher: Launcher, **settings: Any
    ) -> None:
        values = {"lease_s": LEASE_S, "heartbeat_s": LEASE_S / 5, **settings}
        self.database = database
        self.folder = folder
        self.launcher = Recording(launcher)
        self.leaving = threading.Event()
        self.settings = Settings(data_dir=folder, retry_backoff_s=0, **values)
        store = BucketStore(self.settings.storage) if self.settings.storage else None
        self.supervisor = Supervisor(
            database, self.settings, self.launcher, 1, self.leaving, store=store
        )

    def submit(self, spec: dict[str, Any], **changes: Any) -> str:
        wanted = JobSpec.model_validate({**spec, **changes})
        how = {"owner": "me", "device": "cpu", "device_reason": "it is asked for"}
        return submissions.submit(self.database, wanted, **how)[0].id

    def claim(self) -> Lease:
        claim = leases.claim(self.database, "cpu", "a-worker", self.settings.lease_s)
        assert claim is not None
        return claim

    def work(self) -> None:
        self.supervisor.work_on(self.claim())

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
            thread.join(240)
            assert not thread.is_alive()

    @contextmanager
    def saving(self, spec: dict[str, Any], checkpoints: int = 1) -> Iterator[str]:
        """Work on a new job in a thread; go on once so many checkpoints of it are on record."""
        job = self.submit(spec)
        with self.working():
            self.until(job, lambda _: len(self.saved_steps(job)) >= checkpoints)
            yield job

    def saved_steps(self, job: str) -> list[int]:
        """Return the steps of the checkpoints that are on record."""
        found = artifacts.read_all(self.database, job)
        return [int(f.step or 0) for f in found if f.kind == "checkpoint"]

    def job(self, job: str) -> JobDetail:
        return reading.get(self.database, job)

    def until(self, job: str, seen: Callable[[JobDetail], bool], timeout_s: float = 240) -> None:
        deadline = time.monotonic() + timeout_s
        while not seen(self.job(job)):
            assert time.monotonic() < deadline, self.job(job)
            time.sleep(0.01)

    def until_saved(self, job: str) -> None:
        """Wait until a checkpoint is on record."""
        self.until(job, lambda _: bool(artifacts.read_all(self.database, job)))

    def losses(self, job: str) -> tuple[list[int], list[float | None]]:
        series = metrics.read(self.database, job, "train/loss")
        return series.steps, series.values

    def result(self, job: str) -> tuple[Any, ...]:
        """Return all that two jobs with the same bits have in common."""
        files = {f.name: f.sha256 for f in artifacts.read_all(self.database, job)}
        return self.job(job).state, *self.losses(job), files["weights.safetensors"]

    def nothing_is_left(self) -> bool:
        return all(number_is_free(p.pid) for p in self.launcher.started)
