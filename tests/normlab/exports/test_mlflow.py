"""An MLflow server gets one run per job: settings, points, files; and never two for one job."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple, Type

import httpx
import pytest

from normlab.errors import InvalidSpec, ServiceUnavailable
from normlab.exports.mlflow import MlflowServer
from tests.normlab.exports.jobs import a_run

REAL = Path(".bench/mlflow-venv/bin/mlflow")


class FakeServer(httpx.BaseTransport):
    """Answers like an MLflow server, and records the requests."""

    def __init__(self, uri: str = "mlflow-artifacts:/1/r/artifacts") -> None:
        self.asked: List[Tuple[str, Any]] = []
        self.runs: List[str] = []
        self.uri = uri

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.replace("/api/2.0/mlflow/", "")
        body: Any = request.read()
        body = json.loads(body) if request.method == "POST" else body
        self.asked.append((path, body))
        return self.answer(path)

    def answer(self, path: str) -> httpx.Response:
        if path == "experiments/get-by-name":
            return httpx.Response(404, json={"message": "no such experiment"})
        if path == "runs/create":
            self.runs.append(f"run-{len(self.runs)}")
            info = {"run_id": self.runs[-1], "artifact_uri": self.uri}
            return httpx.Response(200, json={"run": {"info": info}})
        found: Dict[str, Any] = {
            "experiments/create": {"experiment_id": "1"},
            "runs/search": {"runs": [{"info": {"run_id": run}} for run in self.runs]},
        }
        return httpx.Response(200, json=found.get(path, {}))

    def bodies(self, path: str) -> List[Any]:
        return [body for asked, body in self.asked if asked == path]


def test_settings_and_every_point_arrive() -> None:
    fake = FakeServer()
    with MlflowServer("http://mlflow", fake) as server:
        assert server.write(a_run(), "study") == "run-0"
    params, metrics = fake.bodies("runs/log-batch")
    assert {"key": "normalizer.kind", "value": "group"} in params["params"]
    accuracy = {"key": "val/accuracy", "value": 0.75, "timestamp": 1002250, "step": 8}
    assert accuracy in metrics["metrics"]
    assert len(metrics["metrics"]) == 5
    assert fake.bodies("runs/update")[0]["status"] == "FINISHED"


def test_a_second_export_replaces_the_run() -> None:
    fake = FakeServer()
    with MlflowServer("http://mlflow", fake) as server:
        server.write(a_run(), "study")
        server.write(a_run(), "study")
    assert fake.bodies("runs/delete") == [{"run_id": "run-0"}]
    assert fake.asked[-1][0] == "runs/delete"  # not before the new run is complete


def test_a_long_series_is_sent_in_batches_that_mlflow_takes() -> None:
    run, fake = a_run(), FakeServer()
    n = 2500
    series = run.series["train/loss"].model_copy(
        update={"steps": list(range(n)), "values": [0.5] * n, "times": [1.0] * n}
    )
    with MlflowServer("http://mlflow", fake) as server:
        server.write(type(run)(run.job, {"train/loss": series}, "x"), "study")
    sizes = [len(b["metrics"]) for b in fake.bodies("runs/log-batch") if "metrics" in b]
    assert sizes == [1000, 1000, 500]


def test_files_go_to_the_servers_store(tmp_path: Path) -> None:
    fake = FakeServer()
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    with MlflowServer("http://mlflow", fake) as server:
        server.write(a_run(), "study", [tmp_path / "weights.safetensors"])
    path = "/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/weights.safetensors"
    assert fake.bodies(path) == [b"weights"]


def test_a_server_that_does_not_serve_its_files_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"")
    with MlflowServer("http://mlflow", FakeServer("/srv/mlruns")) as server, pytest.raises(
        InvalidSpec, match="--serve-artifacts"
    ):
        server.write(a_run(), "study", [tmp_path / "w"])


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (httpx.Response(400, json={"message": "a bad name"}), InvalidSpec, "refused: a bad name$"),
        (httpx.Response(503, html="<p>busy"), ServiceUnavailable, r"given \(status 503\)$"),
    ],
)
def test_what_the_server_says_is_told_and_its_number_only_if_it_says_nothing(
    answer: httpx.Response, error: Type[Exception], said: str
) -> None:
    always = httpx.MockTransport(lambda request: answer)
    with MlflowServer("http://mlflow", always) as server, pytest.raises(error, match=said):
        server.write(a_run(), "study")


def test_an_unreachable_mlflow_server_is_reported() -> None:
    with MlflowServer("http://127.0.0.1:1") as server, pytest.raises(
        ServiceUnavailable, match="no MLflow server"
    ):
        server.write(a_run(), "study")


def test_an_invalid_address_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="http://HOST:PORT"):
        MlflowServer("mlruns")


@pytest.fixture
def real_url(tmp_path: Path) -> Iterator[str]:
    if not REAL.exists():
        pytest.skip(f"no MLflow in {REAL.parent.parent}; `make mlflow` installs one")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = [str(REAL.absolute()), "server", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{tmp_path}/m.db",
            "--artifacts-destination", str(tmp_path / "files")]  # fmt: skip
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            line, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield _when_it_answers(f"http://127.0.0.1:{port}", process)
    finally:
        os.killpg(process.pid, 15)
        process.wait(120)


def _when_it_answers(url: str, process: subprocess.Popen[bytes]) -> str:
    for _ in range(240):
        assert process.poll() is None, "the MLflow server ended"
        try:
            if httpx.get(f"{url}/health", timeout=1).status_code == 200:
                return url
        except httpx.TransportError:
            time.sleep(0.5)
    raise AssertionError("the MLflow server did not start")


@pytest.mark.slow
def test_a_real_server_shows_what_was_exported(real_url: str, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    with MlflowServer(real_url) as server:
        server.write(a_run(), "study")
        run_id = server.write(a_run(), "study", [tmp_path / "weights.safetensors"])
    api = f"{real_url}/api/2.0/mlflow"
    found = httpx.get(f"{api}/runs/get", params={"run_id": run_id}, timeout=60).json()["run"]
    assert found["info"]["status"] == "FINISHED"
    assert {"key": "batch_size", "value": "2"} in found["data"]["params"]
    query = {"run_id": run_id, "metric_key": "val/accuracy"}
    history = httpx.get(f"{api}/metrics/get-history", params=query, timeout=60).json()["metrics"]
    assert [(m["step"], m["value"]) for m in history] == [(4, 0.5), (8, 0.75)]
    files = httpx.get(f"{api}/artifacts/list", params={"run_id": run_id}, timeout=60).json()[
        "files"
    ]
    assert [file["path"] for file in files] == ["weights.safetensors"]
    body = {"experiment_ids": [found["info"]["experiment_id"]]}
    assert len(httpx.post(f"{api}/runs/search", json=body, timeout=60).json()["runs"]) == 1
