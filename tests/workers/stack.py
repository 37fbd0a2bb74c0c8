"""A database, a data folder, and the supervision of a worker in this process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from normlab.records import JobDetail
from normlab.specs.jobs import JobSpec
from service.jobs import leases, reading, submissions
from service.results import artifacts, metrics
from service.settings import Settings
from service.store.database import Database
from workers.process import JobProcess, Launcher
from workers.supervisor import Supervisor


class Stack:
    """Jobs on *database*, whose folders are below *folder*."""

    def __init__(self, database: Database, folder: Path, launcher: Launcher) -> None:
        self.database = database
        self.processes: list[JobProcess] = []
        self._launcher = launcher
        settings = Settings(data_dir=folder, retry_backoff_s=0)
        self._supervisor = Supervisor(database, settings, self, 1, threading.Event())

    def start(self, order: Any) -> JobProcess:
        self.processes.append(self._launcher.start(order))
        return self.processes[-1]

    def submit(self, spec: dict[str, Any]) -> str:
        wanted = JobSpec.model_validate(spec)
        how = {"owner": "me", "device": "cpu", "device_reason": "it is asked for"}
        return submissions.submit(self.database, wanted, **how)[0].id

    def work(self) -> None:
        claim = leases.claim(self.database, "cpu", "a-worker", 60)
        assert claim is not None
        self._supervisor.work_on(claim)

    def job(self, job: str) -> JobDetail:
        return reading.get(self.database, job)

    def losses(self, job: str) -> list[float | None]:
        return metrics.read(self.database, job, "train/loss").values

    def result(self, job: str) -> tuple[Any, ...]:
        record = self.job(job)
        losses = metrics.read(self.database, job, "train/loss")
        files = {f.name: f.sha256 for f in artifacts.read_all(self.database, job)}
        return record.state, losses.steps, losses.values, files["weights.safetensors"]
