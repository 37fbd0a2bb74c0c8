"""Expensive reads end in time, few run at once, and they do not block other clients."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from fastapi import FastAPI
from sqlalchemy import QueuePool, text
from starlette.requests import Request
from starlette.responses import Response

from api.costly import CostlyReads
from api.main import create_app
from normlab.errors import ReadTimedOut, TooBusy
from service.jobs.doorbell import SilentDoorbell
from service.settings import Settings
from service.store import patience
from service.store.database import Database
from service.store.patience import Patience
from tests.api.apart import run_apart
from tests.api.conftest import OPERATORS_TOKEN, token_header
from tests.api.serving import serve

_SLEEP = text("select pg_sleep(300)")
_BACKEND = text("select pg_backend_pid()")
_ASLEEP = text(
    "select count(*) from pg_stat_activity where datname = current_database()"
    " and state = 'active' and query like '%pg_sleep(300)%' and pid <> pg_backend_pid()"
)


def staying() -> Request:
    """A request whose client waits for the answer."""

    async def receive() -> dict[str, str]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "GET", "path": "/"}, receive)


def leaving(after_s: float) -> Request:
    """A request whose client disconnects."""

    async def receive() -> dict[str, str]:
        await asyncio.sleep(after_s)
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "GET", "path": "/"}, receive)


def wait_until_nobody_sleeps(database: Database) -> None:
    deadline = time.monotonic() + 120  # it would end by itself after 300 s
    with database.autocommit() as connection:
        while connection.execute(_ASLEEP).scalar_one():
            assert time.monotonic() < deadline, "the statement was not ended"
            time.sleep(0.02)


def sleeping(database: Database) -> Response:
    with database.autocommit() as connection:
        connection.execute(_SLEEP)
    return Response()


def test_a_statement_is_ended_when_its_time_is_over(database: Database) -> None:
    reads = CostlyReads(within_s=0.2)
    with pytest.raises(ReadTimedOut, match="narrow the filter"):
        run_apart(reads.answer(staying(), "ada", lambda: sleeping(database)))
    wait_until_nobody_sleeps(database)


def test_a_statement_is_ended_when_its_reader_disconnects(database: Database) -> None:
    reads = CostlyReads(within_s=120)
    found = run_apart(reads.answer(leaving(0.2), "ada", lambda: sleeping(database)))
    assert found.status_code == 499  # the other end of the wait is an error
    wait_until_nobody_sleeps(database)


def test_the_server_itself_ends_a_statement_of_the_reads(database_url: str) -> None:
    with Database(database_url, statement_s=0.1) as reads:
        with pytest.raises(ReadTimedOut):
            sleeping(reads)
        with reads.autocommit() as connection:
            assert connection.execute(text("select 1")).scalar() == 1


@contextmanager
def slow_to_connect(database: Database) -> Iterator[None]:
    """PostgreSQL takes no new connections for a while, as on a very busy machine."""
    with database.autocommit() as connection:
        backend = connection.execute(_BACKEND).scalar_one()
    postmaster = psutil.Process(backend).parent()
    assert postmaster is not None
    postmaster.suspend()
    try:
        yield
    finally:
        postmaster.resume()


def test_a_read_that_cannot_be_cancelled_is_over_and_its_connection_is_not_used_again(
    database_url: str,
) -> None:
    with Database(database_url, pool_size=1, statement_s=20) as pool:
        backends: list[int] = []

        def work() -> Response:
            with pool.autocommit() as connection:
                backends.append(connection.execute(_BACKEND).scalar_one())
                connection.execute(_SLEEP)
            return Response()

        with slow_to_connect(pool), pytest.raises(ReadTimedOut, match="narrow the filter"):
            run_apart(CostlyReads(within_s=0.2).answer(staying(), "ada", work))
        deadline = time.monotonic() + 120
        while cast("QueuePool", pool.engine.pool).checkedout():
            assert time.monotonic() < deadline, "the statement was not ended"
            time.sleep(0.02)
        with pool.autocommit() as connection:  # the message may still be under way
            assert connection.execute(_BACKEND).scalar_one() not in backends


def test_no_statement_follows_when_the_time_is_over(database: Database) -> None:
    over = Patience(0.0)
    with over.spent(), pytest.raises(ReadTimedOut):
        sleeping(database)
    patience.check()  # nothing waits here any more


def test_one_owner_cannot_take_all_turns() -> None:
    async def crowd() -> None:
        reads = CostlyReads(at_once=3, of_owner=2, wait_s=0.1, within_s=60)
        end = threading.Event()

        def work() -> Response:
            end.wait(60)
            return Response()

        first = [asyncio.create_task(reads.answer(staying(), "ada", work)) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(TooBusy, match="2 costly reads of 'ada'"):
            await reads.answer(staying(), "ada", work)
        other = asyncio.create_task(reads.answer(staying(), "bob", Response))
        assert (await other).status_code == 200
        end.set()
        await asyncio.gather(*first)
        reads.wait_s = 60  # a turn is given back a moment after its answer
        assert (await reads.answer(staying(), "ada", Response)).status_code == 200

    run_apart(crowd())


def test_a_turn_is_held_until_the_work_has_ended() -> None:
    async def late() -> None:
        reads = CostlyReads(at_once=1, of_owner=1, wait_s=0.1, within_s=0.1)
        end = threading.Event()

        def work() -> Response:
            end.wait(60)
            return Response()

        with pytest.raises(ReadTimedOut):
            await reads.answer(staying(), "ada", work)
        with pytest.raises(TooBusy):
            await reads.answer(staying(), "ada", Response)
        end.set()
        reads.wait_s = reads.within_s = 30
        assert (await reads.answer(staying(), "ada", Response)).status_code == 200

    run_apart(late())


def test_long_work_continues_and_its_result_answers_the_next_request() -> None:
    async def again() -> None:
        reads = CostlyReads(within_s=0.1)
        end = threading.Event()
        calls = []

        def work() -> Response:
            calls.append(1)
            end.wait(60)
            return Response("done")

        first = await reads.answer_or_go_on("ada", "key", work)
        assert (first.status_code, int(first.headers["retry-after"]) > 0) == (202, True)
        assert b"send the same request again" in bytes(first.body)
        end.set()
        reads.within_s = 30
        assert (await reads.answer_or_go_on("ada", "key", work)).body == b"done"
        assert len(calls) == 1

    run_apart(again())


@pytest.fixture
def url_of_slow_lists(
    settings: Settings, doorbell: SilentDoorbell, database: Database
) -> Iterator[str]:
    """An application with little time for lists, which wait for a lock that the test holds."""
    hasty = create_app(settings.model_copy(update={"read_timeout_s": 5.0}), doorbell)
    with serve(hasty) as url, database.begin() as connection:
        connection.execute(text("lock table metric_last in access exclusive mode"))
        yield url


def test_slow_lists_are_429_with_advice_and_others_are_served(
    url_of_slow_lists: str, database: Database
) -> None:
    answers: list[httpx.Response] = []
    eve = httpx.Client(
        base_url=url_of_slow_lists, headers=token_header(database, "eve", "read"), timeout=60
    )
    admin = {"Authorization": f"Bearer {OPERATORS_TOKEN}"}
    other = httpx.Client(base_url=url_of_slow_lists, headers=admin, timeout=60)

    def ask() -> None:
        answers.append(eve.get("/v1/jobs", timeout=60))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    others = other.get("/v1/devices")
    for thread in threads:
        thread.join()
    eve.close()
    other.close()
    assert others.status_code == 200
    codes = {answer.json()["code"] for answer in answers}
    assert codes == {"read_timed_out", "too_busy"}
    assert {answer.status_code for answer in answers} == {429}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)


def test_forms_need_no_turn(app: FastAPI, client: httpx.Client) -> None:
    app.state.normlab = replace(app.state.normlab, costly=CostlyReads(at_once=0))
    assert client.get("/jobs").status_code == 429
    for form in ("/jobs/new", "/studies/new"):
        assert client.get(form).status_code == 200


def test_a_client_that_disconnects_ends_its_statement(
    settings: Settings, doorbell: SilentDoorbell, database: Database
) -> None:
    with serve(create_app(settings, doorbell)) as url, database.begin() as connection:
        connection.execute(text("lock table metric_last in access exclusive mode"))
        at = urlsplit(url)
        with socket.create_connection((at.hostname, at.port)) as client:
            token = f"Authorization: Bearer {OPERATORS_TOKEN}"
            head = f"GET /v1/jobs HTTP/1.1\r\nHost: {at.netloc}\r\n{token}\r\n\r\n"
            client.sendall(head.encode())
            _wait_for_waiting(database, 1)
        _wait_for_waiting(database, 0)


def _wait_for_waiting(database: Database, readers: int) -> None:
    deadline = time.monotonic() + 60
    while _waiting(database) != readers:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _waiting(database: Database) -> int:
    query = text(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and wait_event_type = 'Lock' and application_name = 'normlab reads'"
    )
    with database.autocommit() as connection:
        return int(connection.execute(query).scalar_one())
