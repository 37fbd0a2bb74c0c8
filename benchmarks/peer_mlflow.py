"""The peer: an MLflow tracking server in a separate environment, with the default SQLite."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.command import FOLDER, parser_of
from benchmarks.http_calls import HttpConnection, tree

VERSION = "3.17.2"
METRIC = "val/accuracy"
_ENVIRONMENT = FOLDER / "mlflow-venv"
_STARTS_WITHIN_S = 180.0
_API = "/api/2.0/mlflow"


def install() -> Path:
    """Install MLflow if it is missing; return its command."""
    command = (_ENVIRONMENT / "bin" / "mlflow").absolute()
    if not command.exists():
        print(f"installing mlflow {VERSION} into {_ENVIRONMENT} (minutes, once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(_ENVIRONMENT)], check=True)
        pip = [str(_ENVIRONMENT / "bin" / "pip"), "install", "--quiet", f"mlflow=={VERSION}"]
        subprocess.run(pip, check=True)
    return command


class Mlflow:
    """The calls of the benchmark, made as by an MLflow client."""

    name = f"mlflow {VERSION}"

    def __init__(self, url: str, process: psutil.Process) -> None:
        self.caller = HttpConnection(url)
        self.roots = [process]
        made = self.caller.post(f"{_API}/experiments/create", {"name": "bench"})
        self._experiment = made["experiment_id"]
        self._long_run = self.submit()

    def memory_bytes(self) -> int:
        """Return the memory of the server's processes."""
        return sum(process.memory_info().rss for process in tree(self.roots))

    def submit(self) -> str:
        """Create a run; return its id."""
        body = {"experiment_id": self._experiment, "start_time": round(time.time() * 1000),
                "tags": [{"key": "owner", "value": "bench"}]}  # fmt: skip
        found: str = self.caller.post(f"{_API}/runs/create", body)["run"]["info"]["run_id"]
        return found

    def add_run(self, normalizer: str, accuracy: float) -> None:
        """Create a run with a parameter and a metric, for the list."""
        body = {
            "run_id": self.submit(),
            "params": [{"key": "normalizer", "value": normalizer}],
            "metrics": [{"key": METRIC, "value": accuracy, "timestamp": 1, "step": 1}],
        }
        self.caller.post(f"{_API}/runs/log-batch", body)

    def ingest(self, steps: range, values: Sequence[float]) -> None:
        """Send points of the long series."""
        points = [
            {"key": METRIC, "value": value, "timestamp": 1_700_000_000_000 + step, "step": step}
            for step, value in zip(steps, values, strict=True)
        ]
        body = {"run_id": self._long_run, "metrics": points}
        self.caller.post(f"{_API}/runs/log-batch", body)

    def read(self) -> list[tuple[int, float]]:
        """Read the whole long series."""
        query = {"run_id": self._long_run, "metric_key": METRIC}
        found = self.caller.get(f"{_API}/metrics/get-history", **query)["metrics"]
        return [(point["step"], point["value"]) for point in found]

    def chart(self, points: int) -> int:
        """Read the thinned series; return its number of points."""
        query = {"run_ids": self._long_run, "metric_key": METRIC, "max_results": points}
        path = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
        return len(self.caller.get(path, **query)["metrics"])

    def page(self, limit: int) -> list[float]:
        """List runs by filter, best first; return their metric."""
        body: dict[str, Any] = {
            "experiment_ids": [self._experiment],
            "filter": f"params.normalizer = 'group' and metrics.`{METRIC}` > 0.2",
            "order_by": [f"metrics.`{METRIC}` DESC"],
            "max_results": limit,
        }
        runs = self.caller.post(f"{_API}/runs/search", body)["runs"]
        return [
            metric["value"]
            for run in runs
            for metric in run["data"]["metrics"]
            if metric["key"] == METRIC
        ]


@contextmanager
def serving(folder: Path) -> Iterator[Mlflow]:
    """Run a server with one process and without its job runner, its fastest configuration here."""
    command = install()
    port = free_port()
    line = [str(command), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
            "--artifacts-destination", str(folder / "files")]  # fmt: skip
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            line, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process, folder / "mlflow.log")
        yield Mlflow(url, psutil.Process(process.pid))
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        os.killpg(process.pid, signal_number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
            return


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_S
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and process.poll() is None:
        try:
            direct.open(f"{url}/health", timeout=2).close()
        except (OSError, urllib.error.URLError):
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"the MLflow server did not start:\n{log.read_text()[-2000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    parser_of(__doc__).parse_args()
    install()
