"""The real stack as processes of the drill, each of which can be broken and repaired."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from service.servers import embedded
from service.servers.embedded import Servers
from service.settings import Settings
from service.storage import open_store
from service.storage.store import Store
from service.store.database import migrate
from tests.s3 import Bucket

LEASE_S = 3.0
REAP_S = 0.5
HEARTBEAT_S = 0.5
GRACE_S = 10.0
TOKEN = "a-token-for-the-drill-alone"
_STARTS_WITHIN_S = 300


@dataclass
class Worker:
    """A worker's process, and the log with the processes of its jobs."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def tag(self) -> str:
        """The part of the identity that is unique to this worker."""
        return f"-{self.process.pid}-"

    def attempts(self) -> Iterator[tuple[str, int, int]]:
        """Yield job, attempt and process id of every started attempt."""
        for line in self.log.read_text().splitlines():
            if '"attempt_started"' in line:
                said = json.loads(line)
                yield said["job"], said["attempt"], said["pid"]

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the worker and all its descendants."""
        here = psutil.Process(self.process.pid)
        for process in [here, *here.children(recursive=True)]:
            # If the worker were woken first, it would end the others itself.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


@dataclass
class DrillStack:
    """
    PostgreSQL, Redis, an API and workers, all below one folder.

    Args:
        bucket: for the files of jobs; None: they are below the folder, too.
    """

    folder: Path
    bucket: Bucket | None = None
    workers: list[Worker] = field(default_factory=list)
    _started: int = 0

    def start(self) -> None:
        """Start everything."""
        self.port = _free_port()
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}/v1",
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=10,
        )
        self.start_postgres()
        migrate(self.postgres.database_url)
        self.start_redis()
        self.start_api()
        for _ in range(2):
            self.start_worker()

    def stop(self) -> None:
        """Stop everything, even if it is broken."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()
        self.api.kill()
        self.api.wait()
        self.client.close()
        self.redis.stop()
        self.postgres.stop()

    def start_postgres(self) -> None:
        """Start PostgreSQL on its old data."""
        settings = Settings(data_dir=self.folder / "pg", database_url=None, broker_url="memory://")
        self.postgres = embedded.start(settings)

    def crash_postgres(self) -> None:
        """Stop PostgreSQL immediately, as in a crash."""
        _end(self.postgres, signal.SIGQUIT)

    def start_redis(self) -> None:
        """Start Redis."""
        settings = Settings(
            data_dir=self.folder / "redis", database_url="postgresql://", broker_url=None
        )
        self.redis = embedded.start(settings)

    def crash_redis(self) -> None:
        """Kill Redis, and delete its data."""
        _end(self.redis, signal.SIGKILL)
        shutil.rmtree(self.folder / "redis")

    def start_api(self) -> None:
        """Start the API, and wait until it answers."""
        with (self.folder / "api.log").open("ab") as log:
            self.api = subprocess.Popen(
                [sys.executable, "-m", "api"],
                env=self._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while not self._answers():
            if self.api.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the API did not start; see {self.folder}/api.log")
            time.sleep(0.02)

    def kill_api(self) -> None:
        """Kill the API."""
        self.api.kill()
        self.api.wait()

    def start_worker(self) -> Worker:
        """Start a worker of two slots."""
        self._started += 1
        path = self.folder / f"worker-{self._started}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "workers", "--slots", "2"],
                env=self._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.workers.append(Worker(process, path))
        return self.workers[-1]

    def stop_worker(self, worker: Worker, number: signal.Signals) -> None:
        """End *worker* with a signal, and wait until it has ended."""
        self.workers.remove(worker)
        worker.process.send_signal(number)
        worker.process.wait()

    def process_of(self, job: str, attempt: int) -> int | None:
        """Return the process id of an attempt as soon as its worker has logged it."""
        for worker in self.workers:
            for named, number, pid in worker.attempts():
                if (named, number) == (job, attempt):
                    return pid
        return None

    def job_folder(self, job: str, attempt: int) -> Path:
        """Return the folder of an attempt's files."""
        return self.folder / "data" / "jobs" / job / f"attempt-{attempt}"

    @property
    def store(self) -> Store:
        """The files of jobs."""
        if self.bucket is not None:
            os.environ.update(self.bucket.environment)
        url = "" if self.bucket is None else self.bucket.url
        return open_store(Settings(data_dir=self.folder / "data", storage=url))

    def left_behind(self) -> int:
        """Count job processes that still run without a worker."""
        ours = str(self.folder)
        count = 0
        for process in psutil.process_iter(["cmdline"]):
            command = " ".join(process.info["cmdline"] or [])
            if "workers.job" in command or "workers.warm_host" in command:
                try:
                    count += process.environ().get("DRILL_FOLDER") == ours
                except psutil.Error:
                    continue
        return count

    def _answers(self) -> bool:
        try:
            return self.client.get(f"http://127.0.0.1:{self.port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def _environment(self) -> dict[str, str]:
        settings: dict[str, object] = {
            "DATABASE_URL": self.postgres.database_url,
            "BROKER_URL": self.redis.broker_url,
            "DATA_DIR": self.folder / "data",
            "TOKEN": TOKEN,
            "PORT": self.port,
            "LEASE_S": LEASE_S,
            "HEARTBEAT_S": HEARTBEAT_S,
            "REAP_S": REAP_S,
            "RING_S": 0.5,
            "POLL_S": 0.5,
            "GRACE_S": GRACE_S,
            "RETRY_BACKOFF_S": 0.1,
            "JOB_MEMORY_BYTES": 1 << 30,
            "READ_TIMEOUT_S": 60,  # its load is not about this limit
        }
        if self.bucket is not None:
            settings["STORAGE"] = self.bucket.url
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("NORMLAB_")},
            **(self.bucket.environment if self.bucket is not None else {}),
            **{f"NORMLAB_{name}": str(value) for name, value in settings.items()},
            "OMP_NUM_THREADS": "1",
            "DRILL_FOLDER": str(self.folder),
        }


def _end(servers: Servers, number: signal.Signals) -> None:
    (server,) = servers.started
    server.process.send_signal(number)
    server.process.wait()
    servers.stop()  # releases the lock, so that another can start


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
