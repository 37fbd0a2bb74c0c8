"""A client that disconnects causes no error and leaves nothing behind."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from service.jobs import changes
from service.store.database import Database
from tests.api.conftest import a_job
from tests.api.process import TOKEN, ApiProcess, api_process, leave_with_a_reset

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
LEAVERS = 20


def submit(api: ApiProcess) -> str:
    answer = httpx.post(f"{api.url}/v1/jobs", json=a_job(), headers=HEADERS, timeout=60)
    return str(answer.raise_for_status().json()["id"])


def streams_left(api: ApiProcess) -> int:
    """Count the connections that the API still has."""
    return sum(c.status == "ESTABLISHED" for c in api.process.net_connections("tcp"))


@pytest.mark.parametrize("leave", [socket.socket.close, leave_with_a_reset])
def test_disconnecting_from_a_stream_logs_nothing(
    database_url: str, tmp_path: Path, leave: Callable[[socket.socket], None]
) -> None:
    with api_process(database_url, tmp_path) as api:
        job = submit(api)
        before = api.log.read_text()
        paths = [f"/v1/jobs/{job}/events", "/v1/events?after=0"] * (LEAVERS // 2)
        readers = [api.ask(f"GET {path}") for path in paths]
        for reader in readers:
            reader.recv(1 << 12)
        for reader in readers:
            leave(reader)
            submit(api)  # so that there is something to send to the disconnected client
        until = time.monotonic() + 60
        while streams_left(api) > 0:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert api.log.read_text() == before


def test_interrupting_a_download_is_not_an_error(
    database_url: str, database: Database, tmp_path: Path
) -> None:
    from normlab.events import ArtifactWritten
    from service.jobs import leases
    from service.results import reports

    with api_process(database_url, tmp_path) as api:
        job = submit(api)
        large = tmp_path / "jobs" / job / "large.pt"
        large.parent.mkdir(parents=True)
        with large.open("wb") as file:
            file.truncate(1 << 30)
        claim = leases.claim(database, "cpu", "w", 30)
        assert claim is not None
        written = ArtifactWritten(name="large.pt", path=str(large), sha256="ab", bytes=1 << 30)
        reports.keep_all(database, claim, [written])
        before = api.log.read_text()
        reader = api.ask(f"GET /v1/jobs/{job}/artifacts/large.pt")
        assert reader.recv(1 << 16).startswith(b"HTTP/1.1 200")
        read_before = api.process.io_counters().read_chars
        leave_with_a_reset(reader)
        time.sleep(1)
        assert api.process.io_counters().read_chars - read_before < 1 << 28
        assert api.log.read_text() == before
        changes.cancel(database, job)


def test_the_traceback_of_an_error_shows_no_variable_and_no_token(
    database_url: str, database: Database, tmp_path: Path
) -> None:
    from sqlalchemy import text

    with api_process(database_url, tmp_path) as api:
        with database.begin() as connection:
            connection.execute(text("drop table event cascade"))
        answer = httpx.get(f"{api.url}/v1/events", headers=HEADERS, timeout=60)
        assert answer.status_code == 500
    said = api.log.read_text()  # after the API has ended, because the traceback follows the answer
    assert '"frames"' in said
    assert '"locals"' not in said
    assert TOKEN not in said
