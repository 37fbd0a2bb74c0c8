"""Health checks, Prometheus metrics, the catalogue and the description of the interface."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from starlette.responses import StreamingResponse

from api import catalogue
from api.main import create_app
from normlab.cli import checkup
from normlab.specs.normalizers import BY_KIND
from normlab.stacks.addresses import Address
from service.jobs.doorbell import SilentDoorbell
from service.settings import Settings
from service.store.database import Database
from tests.answering import Answers, answering
from tests.api.conftest import OPERATORS_TOKEN, a_job
from tests.api.serving import client_of


class BrokenDoorbell(SilentDoorbell):
    def trouble(self) -> str | None:
        return "the broker does not answer"


def test_a_process_with_its_database_is_ready(nobody: httpx.Client) -> None:
    assert nobody.get("/livez").json() == {"status": "alive"}
    response = nobody.get("/readyz")
    assert (response.status_code, response.json()["status"]) == (200, "ready")


def test_an_unreachable_broker_is_reported_but_not_required(settings: Settings) -> None:
    with client_of(create_app(settings, BrokenDoorbell())) as client:
        response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json()["broker"] == "the broker does not answer"


def test_a_schema_of_another_version_is_not_ready_and_the_reason_says_what_to_do(
    nobody: httpx.Client, database: Database
) -> None:
    with database.begin() as connection:
        connection.execute(text("update alembic_version set version_num = '0000'"))
    response = nobody.get("/readyz")
    assert response.status_code == 503
    assert "service.migrate" in response.json()["migrations"]


def test_a_process_without_its_database_is_alive_but_not_ready(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"database_url": "postgresql://x@127.0.0.1:1/none"})
    with client_of(create_app(nowhere, SilentDoorbell())) as client:
        assert client.get("/livez").status_code == 200
        response = client.get("/readyz")
        assert (response.status_code, response.json()["status"]) == (503, "not ready")
        headers = {"Authorization": f"Bearer {OPERATORS_TOKEN}"}
        response = client.get("/v1/jobs", headers=headers)
        assert (response.status_code, response.json()["code"]) == (503, "service_unavailable")
        assert response.headers["retry-after"]
        assert "normlab_database_up 0.0" in client.get("/metrics", headers=headers).text


def test_prometheus_reads_jobs_requests_and_rounds(client: httpx.Client) -> None:
    client.post("/v1/jobs", json=a_job())
    client.get("/nowhere")
    families = {f.name: f for f in text_string_to_metric_families(client.get("/metrics").text)}
    (jobs,) = families["normlab_jobs"].samples
    assert (jobs.labels, jobs.value) == ({"state": "queued", "device": "cpu"}, 1)
    counts = {
        (s.labels["route"], s.labels["status"]): s.value
        for s in families["normlab_request_seconds"].samples
        if s.name.endswith("_count")
    }
    assert counts["/v1/jobs", "202"] == 1
    assert counts["unknown", "404"] == 1
    assert "normlab_round" in families


def test_the_catalogue_has_every_kind_with_its_options() -> None:
    found = {record.kind: record for record in catalogue.normalizers()}
    assert set(found) == set(BY_KIND)
    (groups,) = [o for o in found["group"].options if o.name == "groups"]
    assert (groups.default, groups.minimum) == (4, 1)
    assert not found["weight"].takes_proxy
    assert "arXiv" in found["online"].source


def test_the_catalogue_says_which_files_are_missing(
    client: httpx.Client, settings: Settings
) -> None:
    datasets = {d["name"]: d for d in client.get("/v1/datasets").json()}
    assert datasets["digits"]["available"]
    assert datasets["cifar100"]["missing"] == [
        "cifar-100-binary/train.bin",
        "cifar-100-binary/test.bin",
    ]
    folder = settings.datasets / "cifar-100-binary"
    folder.mkdir(parents=True)
    for name, images in (("train.bin", 50_000), ("test.bin", 10_000)):
        (folder / name).touch()
        os.truncate(folder / name, images * 3074)
    datasets = {d["name"]: d for d in client.get("/v1/datasets").json()}
    assert datasets["cifar100"]["available"]
    tasks = {m["name"]: m["task"] for m in client.get("/v1/models").json()}
    assert (tasks["preresnet8"], tasks["unet"]) == ("classification", "segmentation")
    assert (datasets["digits"]["task"], datasets["grammar"]["task"]) == (
        "classification",
        "language",
    )
    assert len(client.get("/v1/normalizers").json()) == len(BY_KIND)


def test_devices_without_workers_say_how_to_start_one(client: httpx.Client) -> None:
    devices = {d["kind"]: d for d in client.get("/v1/devices").json()}
    assert set(devices) == {"cpu", "cuda", "ipu"}
    assert not devices["cuda"]["available"]
    assert "python -m workers --device cuda" in devices["cuda"]["reason"]


def test_devices_say_what_they_can_run(client: httpx.Client) -> None:
    devices = {d["kind"]: d for d in client.get("/v1/devices").json()}
    assert devices["ipu"]["precisions"] == ["float32"]
    assert "online" not in devices["ipu"]["normalizers"]
    assert "online" in devices["cuda"]["normalizers"]
    assert "nccl" in devices["cuda"]["replicas"]


def test_the_description_names_every_operation_once_with_a_summary(app: FastAPI) -> None:
    operations = [
        operation for methods in app.openapi()["paths"].values() for operation in methods.values()
    ]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert all(operation.get("description") for operation in operations)


def test_no_page_of_the_framework_loads_scripts_from_elsewhere(nobody: httpx.Client) -> None:
    assert nobody.get("/docs").status_code == 404
    assert nobody.get("/redoc").status_code == 404


def test_the_process_says_where_it_listens_stops_on_a_signal_and_loads_nothing_heavy(
    database_url: str, tmp_path: object
) -> None:
    watch = (
        "import sys, runpy, atexit\n"
        "atexit.register(lambda: print(sorted(m for m in sys.modules"
        " if m in ('torch', 'celery', 'poptorch', 'scipy', 'alembic',"
        " 'optuna', 'pandas', 'pyarrow', 'matplotlib'))))\n"
        "runpy.run_module('api', run_name='__main__')\n"
    )
    environment = {
        **os.environ,
        "NORMLAB_DATABASE_URL": database_url,
        "NORMLAB_DATA_DIR": str(tmp_path),
        "NORMLAB_PORT": "0",
        "NORMLAB_TOKEN": OPERATORS_TOKEN,
    }
    command = [sys.executable, "-c", watch]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with urllib.request.urlopen(f"{url}/readyz", timeout=60) as response:
            assert response.status == 200
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read().strip()
        assert process.wait(120) == 0
    assert rest == "[]"


@pytest.mark.parametrize("variable", ["NORMLAB_PORT", "NORMLAB_LEASE_S"])
def test_an_invalid_setting_stops_the_start_and_is_named(variable: str) -> None:
    environment = {**os.environ, variable: "-1"}
    command = [sys.executable, "-m", "api"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert variable in ended.stderr
    assert "Traceback" not in ended.stderr


def test_with_a_database_that_accepts_no_writes_the_api_is_not_ready(
    database_url: str, settings: Settings
) -> None:
    name = database_url.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"alter database {name} set default_transaction_read_only = on")
    with client_of(create_app(settings, SilentDoorbell())) as client:
        ready = client.get("/readyz")
        headers = {"Authorization": f"Bearer {OPERATORS_TOKEN}"}
        submitted = client.post("/v1/jobs", json=a_job(), headers=headers)
    assert (ready.status_code, submitted.status_code) == (503, 503)
    assert ready.json()["database"] == "ok"
    assert "read-only" in ready.json()["writes"]


def test_missing_workers_are_reported_and_the_service_stays_ready(nobody: httpx.Client) -> None:
    ready = nobody.get("/readyz")
    assert ready.status_code == 200
    assert "no worker is live" in ready.json()["workers"]


def test_unhandled_errors_are_counted_before_and_during_a_response(
    app: FastAPI,
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"a beginning"
        raise ZeroDivisionError("within")

    def before() -> None:
        raise KeyError("before")

    app.add_api_route("/broken/{name}", before)
    app.add_api_route("/breaks/{name}", lambda name: StreamingResponse(pieces()))
    with client_of(app) as client:
        answer = client.get("/broken/x")
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/breaks/x")
        headers = {"Authorization": f"Bearer {OPERATORS_TOKEN}"}
        said = client.get("/metrics", headers=headers).text
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.json()["detail"]
    samples = [s for f in text_string_to_metric_families(said) for s in f.samples if s.value]
    broken = [s.labels for s in samples if s.name == "normlab_request_failures_total"]
    assert broken == [
        {"route": "/broken/{name}", "error": "KeyError", "moment": "before its answer"},
        {"route": "/breaks/{name}", "error": "ZeroDivisionError", "moment": "within its answer"},
    ]
    counted = {(s.labels["route"], s.labels["status"]) for s in samples
               if s.name == "normlab_request_seconds_count"}  # fmt: skip
    assert ("/broken/{name}", "500") in counted


def test_the_doctor_tells_something_else_at_the_address_from_a_stack_that_is_not_ready(
    tmp_path: Path,
) -> None:
    class SomethingElse(Answers):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

    with answering(SomethingElse) as port:
        address = Address(f"http://127.0.0.1:{port}", OPERATORS_TOKEN, tmp_path)
        found = next(finding for finding in checkup._api(address))
    assert (found.check, found.verdict) == ("API", "bad")
    assert found.found == f"http://127.0.0.1:{port} does not answer as normlab does"


def test_the_doctor_reports_an_unreachable_database_and_not_the_token(
    settings: Settings, tmp_path: Path
) -> None:
    nowhere = settings.model_copy(update={"database_url": "postgresql://x@127.0.0.1:1/none"})
    with client_of(create_app(nowhere, SilentDoorbell())) as client:
        address = Address(str(client.base_url).rstrip("/"), OPERATORS_TOKEN, tmp_path)
        found = {f.check: f for f in checkup._api(address)}
    bad = {check for check, finding in found.items() if finding.verdict == "bad"}
    assert bad == {"API", "API's database"}
    assert found["API"].found.endswith("is not ready")
    assert found["token"].found.startswith("not tried")
