"""A worker that shares with the API only a bucket and, in its own role, the database."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from api.main import create_app
from normlab.events import ArtifactWritten
from service.jobs.doorbell import SilentDoorbell
from service.results import artifacts
from service.settings import Settings
from service.store import worker_role
from service.store.database import Database
from service.studies import purging
from tests.api.serving import serve
from tests.roles import role_of_workers
from tests.s3 import Bucket
from tests.service.work import claim, submit
from workers.slots import Bell
from workers.worker import Worker

TOKEN = "an-operators-token-for-tests"
PAGE = Path(__file__).parents[2] / "docs/how-to/buckets.md"


@pytest.fixture
def client(database_url: str, tmp_path: Path, bucket: Bucket) -> Iterator[httpx.Client]:
    """A client of an API with the bucket."""
    settings = Settings(
        database_url=database_url,
        data_dir=tmp_path / "api",
        token=TOKEN,
        storage=bucket.url,
        inspector_socket=tmp_path / "nobody",
        trash_days=0,
    )
    with serve(create_app(settings, SilentDoorbell())) as url:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=f"{url}/v1", timeout=60, headers=headers) as opened:
            yield opened


def type_the_page(client: httpx.Client, folder: Path) -> None:
    """Run the commands of the page."""
    (typed,) = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.S | re.M)
    server = str(client.base_url).removesuffix("/v1/")
    environment = {**os.environ, "NORMLAB_URL": server, "NORMLAB_TOKEN": TOKEN}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    bash = ["bash", "-euo", "pipefail", "-c", typed]
    subprocess.run(bash, env=environment, cwd=folder, check=True, timeout=250)


def test_its_job_succeeds_and_its_weights_come_through_the_api(
    client: httpx.Client, database: Database, database_url: str, bucket: Bucket, tmp_path: Path
) -> None:
    with database.begin() as connection:  # so that the limits on running jobs are looked up too
        limit = "insert into allowance values ('owner', '*', 'running', 5)"
        connection.execute(text(limit))
    with role_of_workers(database_url) as (role, url):
        with database.begin() as connection:
            worker_role.grant(connection, role)
        settings = Settings(data_dir=tmp_path / "worker", storage=bucket.url, warm_host=False)
        worker = Worker(settings, url, "cpu", 1, Bell(), os.environ)
        worker.start()
        try:
            type_the_page(client, tmp_path)
        finally:
            worker.leave()
    assert {p.name for p in (tmp_path / "worker").iterdir()} == {"scratch"}
    assert list((tmp_path / "worker" / "scratch").iterdir()) == []
    (job,) = client.get("/jobs").json()["jobs"]
    path = f"/jobs/{job['id']}"
    (kept,) = [f for f in client.get(f"{path}/artifacts").json() if f["kind"] == "weights"]
    saved = (tmp_path / "weights.safetensors").read_bytes()
    assert hashlib.sha256(saved).hexdigest() == kept["sha256"]


@pytest.fixture
def file(database: Database, bucket: Bucket) -> tuple[str, bytes]:
    """A job and the content of its file `a.csv` in the bucket."""
    job, content = submit(database).id, bytes(range(256)) * 40
    held = claim(database)
    written = ArtifactWritten(
        name="a.csv",
        path=f"/there/{job}/attempt-1/a.csv",
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
    )
    with database.begin() as connection:
        artifacts.keep_artifact(connection, held, written)
    bucket.write(f"{job}/attempt-1/a.csv", content)
    return job, content


PARTS = {"100-199": (100, 200), "10230-": (10230, 10240), "-10": (10230, 10240),
         "0-99999": (0, 10240)}  # fmt: skip
NO_PARTS = {"10240-": 416, "-0": 416, "5-2": 200, "1-2,4-5": 200, "-": 200, "x": 200}


def test_an_interrupted_download_is_continued(
    client: httpx.Client, file: tuple[str, bytes]
) -> None:
    job, content = file
    path = f"/jobs/{job}/artifacts/a.csv"
    whole = client.get(path)
    assert (whole.status_code, whole.content) == (200, content)
    assert whole.headers["accept-ranges"] == "bytes"
    for asked, (first, end) in PARTS.items():
        headers = {"Range": f"bytes={asked}", "If-Range": whole.headers["etag"]}
        part = client.get(path, headers=headers)
        assert (part.status_code, part.content) == (206, content[first:end])
        assert part.headers["content-range"] == f"bytes {first}-{end - 1}/10240"
        another = client.get(path, headers={**headers, "If-Range": '"another"'})
        assert (another.status_code, another.content) == (200, content)


def test_a_part_that_is_absent_or_not_understood_is_answered_with_its_error(
    client: httpx.Client, file: tuple[str, bytes]
) -> None:
    path = f"/jobs/{file[0]}/artifacts/a.csv"
    for asked, status in NO_PARTS.items():
        answer = client.get(path, headers={"Range": f"bytes={asked}"})
        assert (asked, answer.status_code) == (asked, status)
        assert ("content-range" in answer.headers) == (status == 416)


def test_the_process_that_describes_plugins_gets_no_credentials(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMLAB_TOKEN", TOKEN)
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    settings = Settings(database_url=url, data_dir=tmp_path, storage=bucket.url)
    app = create_app(settings, SilentDoorbell())
    given = app.state.normlab.inspector._environment
    assert "PATH" in given
    assert not [name for name in given if name.startswith(("NORMLAB_", "AWS_"))]


def test_a_bucket_that_does_not_answer_is_503_and_a_lost_object_404(
    client: httpx.Client, file: tuple[str, bytes], bucket: Bucket
) -> None:
    path = f"/jobs/{file[0]}/artifacts/a.csv"
    bucket.gate.shut()
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
    bucket.gate.open()
    assert client.get(path).status_code == 200
    bucket.vanish()
    assert client.get(path).status_code == 503


def test_a_deleted_job_takes_its_objects_along(
    client: httpx.Client, database: Database, file: tuple[str, bytes], bucket: Bucket
) -> None:
    job, content = file
    (used,) = purging.usage(database)
    assert used.bytes == len(content)
    client.post(f"/jobs/{job}/cancel")
    with database.begin() as connection:
        connection.execute(text("update job set state = 'failed' where id = :id"), {"id": job})
    bucket.write("another/attempt-1/a.csv", b"of another stack's job")
    assert client.delete(f"/jobs/{job}").status_code == 200
    deadline = time.monotonic() + 100
    while bucket.places() != ["another/attempt-1/a.csv"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
