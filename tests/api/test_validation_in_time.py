"""A network that is slow to inspect is answered in time and delays nobody."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from api.costly import CostlyReads
from tests.api.conftest import a_job

ANSWER = {"parameters": 7, "memory_bytes": 70, "ipu_passes": True, "ipu_message": "passes"}


@pytest.fixture
def finish(tmp_path: Path) -> Iterator[threading.Event]:
    """An inspection process that answers once this is set."""
    finish = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "nobody"))  # the path in the settings of these tests
        listener.listen()
        threading.Thread(target=_serve, args=(listener, finish), daemon=True).start()
        yield finish
        finish.set()


def _serve(listener: socket.socket, finish: threading.Event) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as lines:
            lines.readline()
            finish.wait()
            connection.sendall(json.dumps(ANSWER).encode() + b"\n")


@pytest.fixture(autouse=True)
def in_time(app: FastAPI) -> None:
    """Give validations, but not the other costly reads, little time."""
    hasty = CostlyReads(8, 4, within_s=0.2)
    app.state.normlab = replace(app.state.normlab, validations=hasty)


def test_a_deep_network_is_answered_in_time_and_its_result_is_fetched_later(
    client: httpx.Client, finish: threading.Event
) -> None:
    first = client.post("/v1/jobs:validate", json=a_job())
    assert (first.status_code, first.json()["status"]) == (202, "under_way")
    assert int(first.headers["retry-after"]) > 0
    assert "send the same request again" in first.json()["detail"]
    finish.set()
    while (again := client.post("/v1/jobs:validate", json=a_job())).status_code == 202:
        pass  # it has not come yet
    assert (again.status_code, again.json()["parameters"]) == (200, 7)


def test_others_are_served_while_deep_networks_are_inspected(
    client: httpx.Client, finish: threading.Event
) -> None:
    def ask(n: int) -> None:
        client.post("/v1/jobs:validate", json=a_job(batch_size=n + 1))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(60)]
    for thread in threads:
        thread.start()
    for path in ("/v1/jobs", "/v1/devices", "/readyz"):
        assert client.get(path).status_code == 200
    for thread in threads:
        thread.join()
