"""Real workers with Celery, slots and job processes, a real database and a real Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from normlab.records import JobDetail
from normlab.records.catalogue import WorkerRecord
from normlab.specs.jobs import JobSpec
from service.jobs import doorbell, reading, submissions, workers
from service.store.database import Database

LEASE_S = 10.0  # a busy machine may let a worker wait for seconds
SETTINGS = {
    "NORMLAB_LEASE_S": LEASE_S,
    "NORMLAB_HEARTBEAT_S": 0.5,
    "NORMLAB_POLL_S": 60,  # only a ring wakes a slot, unless a test says otherwise
    "NORMLAB_GRACE_S": 20,
    "NORMLAB_RETRY_BACKOFF_S": 0,
    "NORMLAB_WARM_HOST": 0,
}


class Floor:
    """The environment of workers: servers, and the processes that a test started."""

    def __init__(
        self, database: Database, database_url: str, broker_url: str, folder: Path
    ) -> None:
        self.database = database
        self.broker_url = broker_url
        self.jobs = folder / "jobs"
        self.bell = doorbell.CeleryDoorbell(broker_url)
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("NORMLAB_")},
            "NORMLAB_DATABASE_URL": database_url,
            "NORMLAB_BROKER_URL": broker_url,
            "NORMLAB_DATA_DIR": str(folder),
            "OMP_NUM_THREADS": "1",
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def hire(
        self, slots: int = 1, inside: Sequence[str] = (), **changes: Any
    ) -> subprocess.Popen[bytes]:
        """Start a worker, and wait until it reports that it is live."""
        settings = {**SETTINGS, **changes}
        environment = {**self._environment, **{k: str(v) for k, v in settings.items()}}
        process = subprocess.Popen(
            [*inside, sys.executable, "-m", "workers", f"--slots={slots}"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._started.append(process)
        self.until(lambda: any(f"-{process.pid}-" in w.id for w in workers.live(self.database)))
        return process

    def submit(self, spec: dict[str, Any], rings: int = 1, **changes: Any) -> str:
        wanted = JobSpec.model_validate({**spec, **changes})
        job, _ = submissions.submit(
            self.database, wanted, owner="me", device="cpu", device_reason="it is asked for"
        )
        for _ in range(rings):
            self.bell.ring("cpu")
        return job.id

    def job(self, job: str) -> JobDetail:
        return reading.get(self.database, job)

    def until_state(self, job: str, *states: str) -> JobDetail:
        self.until(lambda: self.job(job).state in states)
        return self.job(job)

    def until_learning(self, job: str) -> None:
        self.until(lambda: self.job(job).step > 0)

    def until(self, seen: Callable[[], bool], timeout_s: float = 240) -> None:
        deadline = time.monotonic() + timeout_s
        while not seen():
            assert time.monotonic() < deadline, "it does not happen"
            time.sleep(0.02)

    def until_live(self, seen: Callable[[WorkerRecord], bool]) -> WorkerRecord:
        """Wait until the only worker reports what is to be *seen*; return its record."""
        found: list[WorkerRecord] = []

        def look() -> bool:
            found[:] = workers.live(self.database)  # empty, if it was silent for long
            return len(found) == 1 and seen(found[0])

        self.until(look)
        return found[0]

    def close(self) -> None:
        self.bell.close()
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
