"""Our side of the comparison: the embedded PostgreSQL and the API, as `normlab up` runs them."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.http_calls import HttpConnection
from benchmarks.peer_mlflow import METRIC, free_port
from normlab.events import Metrics, Series
from service.jobs import leases
from service.results import reports
from service.servers.launcher import Stack, launch
from service.servers.servers_file import read_servers
from service.settings import Settings
from service.store.database import Database

# No worker of these kinds is live, so jobs stay queued and only the call is measured.
QUEUED: dict[str, Any] = {"normalizer": "batch", "dataset": {"name": "digits"}, "device": "cuda"}
LONG: dict[str, Any] = {**QUEUED, "device": "ipu", "ipu_runtime": "emulated"}


class OwnApi:
    """The calls of the benchmark, made as by our clients."""

    name = "normlab"

    def __init__(
        self, running: Stack, database: Database, long_job: str, ingest: HttpConnection
    ) -> None:
        api = psutil.Process(running.children[0].process.pid)
        self.caller = _caller(running)
        self.database = database
        self.servers = _servers(running.data_dir)
        self.roots = [api, *self.servers]
        self._api = api
        self._ingest = ingest
        self._long_job = long_job

    def memory_bytes(self) -> int:
        """Return the memory of the API process, without the process that inspects models."""
        held: int = self._api.memory_info().rss
        return held

    def submit(self) -> str:
        """Queue a job; return its id."""
        return _submit(self.caller, QUEUED)

    def add_run(self, normalizer: str, accuracy: float) -> None:
        """Queue a job and report a metric for it, for the list."""
        _submit(self.caller, {**QUEUED, "normalizer": normalizer, "priority": 1})
        lease = leases.claim(self.database, "cuda", "benchmark", lease_s=3600)
        assert lease is not None
        series = {METRIC: Series(steps=[1], values=[accuracy], times=[1.0])}
        assert reports.keep_all(self.database, lease, [Metrics(series=series)])

    def ingest(self, steps: range, values: Sequence[float]) -> None:
        """Send points of the long series, as a job process writes them."""
        self._ingest.post("/events", record(steps, values))

    def read(self) -> list[tuple[int, float]]:
        """Read the whole long series."""
        found = self.caller.get(f"/v1/jobs/{self._long_job}/metrics", name=METRIC)
        return list(zip(found["steps"], found["values"], strict=True))

    def chart(self, points: int) -> int:
        """Read the thinned series; return its number of points."""
        path = f"/v1/jobs/{self._long_job}/metrics"
        return len(self.caller.get(path, name=METRIC, max_points=points)["steps"])

    def page(self, limit: int) -> list[float]:
        """List jobs by filter, best first; return their metric."""
        query = {"filter": f"normalizer = group and {METRIC} > 0.2", "sort": f"-{METRIC}"}
        jobs = self.caller.get("/v1/jobs", limit=limit, **query)["jobs"]
        return [job["last"][METRIC]["value"] for job in jobs]


def record(steps: range, values: Sequence[float]) -> bytes:
    """Encode points as a job process does."""
    times = [1_700_000_000 + step / 1000 for step in steps]
    series = Series(steps=list(steps), values=list(values), times=times)
    return Metrics(series={METRIC: series}).to_line()


@contextmanager
def serving(folder: Path) -> Iterator[OwnApi]:
    """Run a stack without a worker, and the small server that accepts points over HTTP."""
    settings = Settings(data_dir=folder, port=0, database_url=None, broker_url=None)
    with ExitStack() as ending:
        running = ending.enter_context(launch(settings, worker=False))
        servers = read_servers(folder)
        assert servers is not None
        database = Database(servers.database_url)
        ending.callback(database.close)
        long_job = _submit(_caller(running), LONG)
        process, caller = _ingest_server(servers.database_url)
        ending.callback(_stop, process)
        own = OwnApi(running, database, long_job, caller)
        own.roots.append(psutil.Process(process.pid))
        yield own


def _ingest_server(database_url: str) -> tuple[subprocess.Popen[bytes], HttpConnection]:
    port = free_port()
    line = [sys.executable, "-m", "benchmarks.ingest_server", database_url, str(port)]
    process = subprocess.Popen(line)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            httpx.get(url, trust_env=False)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return process, HttpConnection(url)
    raise SystemExit("the server for points did not start")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _caller(running: Stack) -> HttpConnection:
    return HttpConnection(running.url, {"Authorization": f"Bearer {running.connection.token}"})


def _submit(caller: HttpConnection, spec: dict[str, Any]) -> str:
    answer = caller.post("/v1/jobs", spec, {"Idempotency-Key": uuid.uuid4().hex})
    found: str = answer["id"]
    return found


def _servers(data_dir: Path) -> list[psutil.Process]:
    """Find the PostgreSQL server of this stack by the folder in its command line."""
    found = [
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if "postgres" in (process.info["name"] or "")
        and any(str(data_dir) in part for part in process.info["cmdline"] or [])
    ]
    if not found:
        raise SystemExit(f"no PostgreSQL runs on {data_dir}")
    parents = {process.pid for process in found}
    return [process for process in found if process.ppid() not in parents]
