"""Answers to wrong tokens are delayed and logged, and valid tokens are not affected."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from httpx_sse import connect_sse
from structlog.testing import capture_logs

from service.store.database import Database
from tests.api.conftest import OPERATORS_TOKEN, a_job, token_header
from tests.api.process import TOKEN, api_process
from tests.tokens import create_token, revoke_token


def knock(client: httpx.Client, token: str) -> tuple[int, float]:
    began = time.monotonic()
    response = client.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"})
    return response.status_code, time.monotonic() - began


def test_each_further_wrong_token_is_answered_later(nobody: httpx.Client) -> None:
    knock(nobody, OPERATORS_TOKEN)  # so that no measured time includes a first connection
    waits = []
    for i in range(10):
        status, seconds = knock(nobody, f"wrong-{i}")
        assert status == 401
        waits.append(seconds)
    assert max(waits[:5]) < 0.1 + min(waits)  # people mistype
    assert waits[-1] > 0.9
    assert max(waits) < 2


def test_the_login_is_slowed_down_too(nobody: httpx.Client) -> None:
    began = time.monotonic()
    for _ in range(9):
        assert nobody.post("/login", data={"token": "wrong"}).status_code == 401
    assert time.monotonic() - began > 1


def test_a_guesser_locks_nobody_out_and_no_guess_is_in_the_log(
    database_url: str, database: Database, tmp_path: Path
) -> None:
    good = token_header(database, "ada", "read")
    with api_process(database_url, tmp_path) as api, ExitStack() as open_ones:
        stop = threading.Event()

        def guess(number: int) -> set[int]:
            seen = set()
            with httpx.Client(base_url=api.url, timeout=30) as client:
                while not stop.is_set():
                    seen.add(knock(client, f"made-up-{number}")[0])
            return seen

        pool = open_ones.enter_context(ThreadPoolExecutor(60))
        guessers = [pool.submit(guess, i) for i in range(60)]
        time.sleep(2)
        for _ in range(5):
            began = time.monotonic()
            headers = {**good}
            assert httpx.get(f"{api.url}/v1/jobs", headers=headers).status_code == 200
            assert time.monotonic() - began < 2
            time.sleep(0.7)  # sometimes longer than a token is cached
        stop.set()
        statuses = set().union(*(g.result() for g in guessers))
        said = api.log.read_text()
        counted = httpx.get(f"{api.url}/metrics", headers=good).text
    assert statuses == {401, 429}
    lines = [line for line in said.splitlines() if '"wrong token"' in line]
    assert 5 <= len(lines) <= 25
    assert '"client": "127.0.0.1"' in lines[0]
    assert "made-up" not in said
    assert "normlab_wrong_tokens_total" in counted


def test_a_missing_token_does_not_count_as_wrong(nobody: httpx.Client) -> None:
    with capture_logs() as logged:
        for _ in range(20):
            assert nobody.get("/v1/jobs").status_code == 401
    assert [line for line in logged if line["event"] == "wrong token"] == []


@pytest.mark.parametrize("all_jobs", [True, False])
def test_an_open_stream_ends_soon_after_its_token_is_revoked(
    nobody: httpx.Client, client: httpx.Client, database: Database, all_jobs: bool
) -> None:
    job = client.post("/v1/jobs", json=a_job()).json()["id"]
    token = create_token(database, "ada", ["read"])
    path = "/v1/events?after=0" if all_jobs else f"/v1/jobs/{job}/events"
    headers = {"Authorization": f"Bearer {token}"}
    with connect_sse(nobody, "GET", path, headers=headers) as source:
        events = source.iter_sse()
        next(events)
        revoke_token(database, token)
        began = time.monotonic()
        list(events)
        assert time.monotonic() - began < 8
    assert nobody.get(path, headers=headers).status_code == 401


def test_a_followed_log_ends_when_its_token_is_revoked(
    nobody: httpx.Client, client: httpx.Client, database: Database
) -> None:
    job = client.post("/v1/jobs", json=a_job()).json()["id"]
    token = create_token(database, "ada", ["read"])
    headers = {"Authorization": f"Bearer {token}"}
    began = time.monotonic()
    timer = threading.Timer(0.5, revoke_token, (database, token))
    timer.start()
    response = nobody.get(f"/v1/jobs/{job}/logs?follow=50", headers=headers)
    timer.join()
    assert response.status_code == 401
    assert time.monotonic() - began < 9


def test_no_owner_can_take_all_streams(
    app: object, nobody: httpx.Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastapi import FastAPI

    assert isinstance(app, FastAPI)
    monkeypatch.setattr(app.state.normlab.streams, "_most", 2)
    ada, bob = token_header(database, "ada", "read"), token_header(database, "bob", "read")
    with ExitStack() as streams:
        for _ in range(2):
            opened = nobody.stream("GET", "/v1/events?after=0", headers=ada)
            assert streams.enter_context(opened).status_code == 200
        refused = nobody.get("/v1/events?after=0", headers=ada)
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
        opened = nobody.stream("GET", "/v1/events?after=0", headers=bob)
        assert streams.enter_context(opened).status_code == 200


def test_the_operators_token_is_not_delayed_by_wrong_ones(
    database_url: str, tmp_path: Path
) -> None:
    with api_process(database_url, tmp_path) as api, httpx.Client(base_url=api.url) as client:
        for i in range(8):
            knock(client, f"wrong-{i}")
        status, seconds = knock(client, TOKEN)
        assert status == 200
        assert seconds < 0.5
