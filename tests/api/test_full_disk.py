"""A disk that is really full: not ready, submissions refused with the reason, then recovery."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import httpx
import pytest

from api.main import create_app
from service.jobs.doorbell import SilentDoorbell
from service.servers import embedded
from service.settings import Settings
from service.store.database import migrate
from tests.api.conftest import OPERATORS_TOKEN, a_job
from tests.api.serving import client_of

_SIZE = "200m"  # an empty cluster and its first migration take about 80


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A separate file system of a few megabytes."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small file system")
    folder = Path(mkdtemp(prefix="normlab-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=755", "tmpfs", str(folder)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        folder.rmdir()
        pytest.skip(f"no small file system can be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


@pytest.fixture
def client(small_disk: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """A service with its database on the small disk and its data elsewhere."""
    settings = Settings(data_dir=small_disk / "data", broker_url="memory://")
    servers = embedded.start(settings)
    try:
        migrate(servers.database_url)
        ours = Settings(
            database_url=servers.database_url,
            data_dir=tmp_path,
            token=OPERATORS_TOKEN,
            inspector_socket=tmp_path / "nobody",
        )
        with client_of(create_app(ours, SilentDoorbell())) as client:
            client.headers["Authorization"] = f"Bearer {OPERATORS_TOKEN}"
            yield client
    finally:
        servers.stop()


def fill(folder: Path) -> Path:
    """Fill every block."""
    rest = folder / "rest"
    with rest.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            assert shutil.disk_usage(folder).free == 0
    return rest


def submit_until_refused(client: httpx.Client) -> httpx.Response:
    """Jobs still fit into existing pages, but not for long."""
    for _ in range(500):
        answer = client.post("/v1/jobs", json=a_job())
        if answer.status_code != 202:
            return answer
    pytest.fail("500 jobs were taken")


def test_with_a_full_disk_the_api_is_not_ready_until_there_is_room(
    client: httpx.Client, small_disk: Path
) -> None:
    assert client.get("/readyz").json()["writes"] == "ok"
    rest = fill(small_disk)
    refused = submit_until_refused(client)
    assert refused.status_code == 503
    assert "No space left on device" in refused.json()["detail"]
    time.sleep(2.1)  # the last answer of the probe is reused for 2 s
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["database"]) == (503, "ok")
    assert "No space left on device" in ready.json()["writes"]
    assert client.get("/v1/jobs").status_code == 200
    rest.unlink()
    time.sleep(2.1)
    assert client.get("/readyz").status_code == 200
    assert client.post("/v1/jobs", json=a_job()).status_code == 202
