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

from api.strangers import Strangers
from service.store.database import Database
from tests.api.conftest import OPERATORS_TOKEN, a_job, token_header
from tests.api.process import api_process
from tests.tokens import create_token, revoke_token


def knock(client: httpx.Client, token: str) -> int:
    response = client.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"})
    return response.status_code


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that answers would have been delayed; nobody waits for them here."""
    found: list[float] = []

    async def note(_: Strangers, client: str, seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(Strangers, "_wait", note)
    return found


def test_each_further_wrong_token_is_answered_later(
    nobody: httpx.Client, delays: list[float]
) -> None:
    for i in range(11):
        assert knock(nobody, f"wrong-{i}") == 401
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]  # the first five are free: people mistype


def test_a_right_token_is_never_delayed(nobody: httpx.Client, delays: list[float]) -> None:
    for i in range(8):
        knock(nobody, f"wrong-{i}")
    assert len(delays) == 3
    assert knock(nobody, OPERATORS_TOKEN) == 200
    assert len(delays) == 3


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
        stop, refused = threading.Event(), threading.Event()
        statuses: set[int] = set()

        def guess(number: int) -> None:
            with httpx.Client(base_url=api.url, timeout=60) as client:
                while not stop.is_set():
                    statuses.add(knock(client, f"made-up-{number}"))
                    if 429 in statuses:
                        refused.set()

        pool = open_ones.enter_context(ThreadPoolExecutor(60))
        guessers = [pool.submit(guess, i) for i in range(60)]
        assert refused.wait(60)
        with httpx.Client(base_url=api.url, timeout=60, headers=good) as ada:
            for _ in range(5):
                assert ada.get("/v1/devices").status_code == 200
                time.sleep(0.7)  # sometimes longer than a token is cached
            stop.set()
            for guesser in guessers:
                guesser.result()
            said = api.log.read_text()
            counted = ada.get("/metrics").text
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
def test_an_open_stream_ends_when_its_token_is_revoked(
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
        list(events)
    assert nobody.get(path, headers=headers).status_code == 401


def test_a_followed_log_ends_when_its_token_is_revoked(
    nobody: httpx.Client, client: httpx.Client, database: Database
) -> None:
    job = client.post("/v1/jobs", json=a_job()).json()["id"]
    token = create_token(database, "ada", ["read"])
    headers = {"Authorization": f"Bearer {token}"}
    timer = threading.Timer(0.5, revoke_token, (database, token))
    timer.start()
    response = nobody.get(f"/v1/jobs/{job}/logs?follow=50", headers=headers)
    timer.join()
    assert response.status_code == 401


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
