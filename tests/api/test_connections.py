"""Limits for unauthenticated and slow clients: heads, bodies, connections and waits."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from api.connections import Bounds
from api.errors import Problem
from tests.api.process import TOKEN, ApiProcess, api_process, head
from tests.api.serving import serve

MIB = 1 << 20


def answer(connection: socket.socket) -> tuple[int, str]:
    """Read until the server closes; return the status and the rest."""
    said = b""
    while True:
        try:
            piece = connection.recv(1 << 16)
        except ConnectionResetError:
            break
        if not piece:
            break
        said += piece
    text = said.decode()
    return (int(text.split()[1]) if text else 0), text


def answers(api: ApiProcess) -> bool:
    """Send a request that needs the database, on a new connection."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.get(f"{api.url}/v1/devices", headers=headers, timeout=60).status_code == 200


def send(connection: socket.socket, data: bytes) -> None:
    """Send as much as the server accepts; it may close at any moment."""
    with suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
        connection.sendall(data)


@pytest.mark.parametrize("token", [None, "wrong", TOKEN])
@pytest.mark.parametrize("declared", ["Content-Length: 1048576", "Transfer-Encoding: chunked"])
def test_500_unfinished_bodies_take_little_memory_and_hold_up_no_other_answer(
    database_url: str, tmp_path: Path, token: str | None, declared: str
) -> None:
    body = b"x" * (MIB - 1)
    if "chunked" in declared:
        body = b"100000\r\n" + body
    with api_process(database_url, tmp_path) as api, ExitStack() as open_ones:
        assert answers(api)
        before, peak = api.memory_bytes, 0
        for i in range(500):
            connection = open_ones.enter_context(api.connect())
            connection.settimeout(0.05)
            send(connection, head("POST /v1/jobs", declared, token=token) + body)
            if i % 50 == 49:
                assert answers(api)
                peak = max(peak, api.memory_bytes)
        assert peak - before < (200 if token == TOKEN else 60) * MIB


def test_a_head_of_200_mb_is_refused_before_it_costs_anything(
    database_url: str, tmp_path: Path
) -> None:
    with api_process(database_url, tmp_path) as api, api.connect() as connection:
        assert answers(api)
        spent, memory = sum(api.process.cpu_times()[:2]), api.memory_bytes
        piece = b"x" * MIB
        send(connection, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        for _ in range(200):
            send(connection, piece)
        assert answers(api)
        assert sum(api.process.cpu_times()[:2]) - spent < 1
        assert api.memory_bytes - memory < 20 * MIB


@contextmanager
def served(app: FastAPI, **bounds: float) -> Iterator[tuple[str, int]]:
    with serve(app, Bounds(**bounds)) as url:
        yield url, int(url.rpartition(":")[2])


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


@pytest.mark.parametrize(
    "line",
    [
        b"X-Long: " + b"x" * 5000 + b"\r\n",
        b"".join(b"X-%d: 1\r\n" % i for i in range(200)),
        b"".join(b"Cookie: a=%d\r\n" % i for i in range(200)),
    ],
)
@pytest.mark.parametrize("end", [b"\r\n", b""])
def test_a_head_that_is_too_large_is_431(app: FastAPI, line: bytes, end: bytes) -> None:
    with served(app, head_bytes=4096) as (_, port), connect(port) as connection:
        many = line if end else line * 20  # an endless one is only recognized by its size
        send(connection, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + many + end)
        status, text = answer(connection)
        assert status == 431
        problem = json.loads(text.partition("\r\n\r\n")[2])
        assert (problem["code"], problem["status"]) == ("head_too_large", 431)
        Problem.model_validate(problem)


def test_a_large_body_in_one_piece_with_its_head_is_not_a_large_head(
    app: FastAPI,
) -> None:
    with served(app, head_bytes=4096) as (_, port), connect(port) as connection:
        body = b"x" * 20_000
        line = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        connection.sendall(line + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert answer(connection)[0] == 401


def test_an_address_that_is_too_long_is_431(app: FastAPI) -> None:
    with served(app) as (url, _):
        assert httpx.get(f"{url}/v1/jobs?name={'x' * 20_000}", timeout=60).status_code == 401
        assert httpx.get(f"{url}/v1/jobs?name={'x' * 40_000}", timeout=60).status_code == 431


RUNS = "&".join(f"job={i:036}" for i in range(2000))
"""Of a link that compares 2,000 runs: 82 kB."""


@pytest.mark.parametrize("piece", [1 << 10, 1 << 20])
def test_a_browser_gets_a_page_with_the_reason_if_its_address_is_too_long(
    app: FastAPI, piece: int
) -> None:
    with served(app) as (_, port), connect(port) as connection:
        asked = f"GET /compare?{RUNS} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n"
        for at in range(0, len(asked), piece):
            send(connection, asked[at : at + piece].encode())
        status, text = answer(connection)
        assert status == 431
        assert "content-type: text/html" in text
        assert "The request is too long" in text
        assert "32,768 bytes, including the address, are accepted; name fewer runs" in text
        assert 'href="/jobs"' in text


def test_a_program_gets_a_problem_if_its_address_is_too_long(app: FastAPI) -> None:
    for path, wanted in (("/compare", "application/json"), ("/v1/jobs", "text/html")):
        with served(app) as (_, port), connect(port) as connection:
            line = f"GET {path}?{RUNS} HTTP/1.1\r\nHost: localhost\r\nAccept: {wanted}\r\n\r\n"
            send(connection, line.encode())
            status, text = answer(connection)
            assert (status, "application/problem+json" in text) == (431, True)


def test_an_invalid_request_is_answered_with_a_problem_too(app: FastAPI) -> None:
    with served(app) as (_, port), connect(port) as connection:
        send(connection, b"\x16\x03\x01 hello\r\n\r\n")
        status, text = answer(connection)
        assert (status, '"code": "bad_request"' in text) == (400, True)


@pytest.mark.parametrize(
    "drop", [b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: x", b"\r\n", b""]
)
def test_a_head_that_arrives_too_slowly_is_cut_off(app: FastAPI, drop: bytes) -> None:
    with served(app, head_s=0.5) as (_, port), connect(port) as connection:
        send(connection, drop)
        connection.settimeout(0.1)
        while True:  # if it were never cut off, the test would run into its time limit
            send(connection, b"x" if drop.strip() else drop)
            try:
                if connection.recv(100) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionResetError:
                break


def test_a_connection_without_a_request_is_closed(app: FastAPI) -> None:
    with served(app, idle_s=0.5) as (_, port), connect(port) as connection:
        send(connection, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer(connection)[0] == 200  # which reads until the server closes


def test_the_rest_of_a_refused_body_is_not_waited_for(app: FastAPI) -> None:
    with served(app, idle_body_s=0.5) as (_, port), connect(port) as connection:
        line = head("POST /v1/jobs", "Content-Length: 1000", token=None)
        send(connection, line + b"x")
        status, _ = answer(connection)
        assert status == 401


def test_the_connection_can_be_used_after_a_refused_body(app: FastAPI) -> None:
    with served(app) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        for _ in range(3):
            assert client.post("/v1/jobs", json={"name": "x" * 1000}).status_code == 401
            assert client.get("/livez").status_code == 200


def test_a_reader_that_stops_reading_is_disconnected(app: FastAPI) -> None:
    with served(app, stalled_s=0.5) as (_, port), connect(port) as connection:
        connection.settimeout(0.2)
        line = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        until = time.monotonic() + 120
        while not has_ended(connection):  # answers of 100 KB each that nobody reads
            assert time.monotonic() < until
            send(connection, line)


def has_ended(connection: socket.socket) -> bool:
    """Return whether the other end has reset the connection, without reading from it."""
    try:
        return connection.send(b"") != 0
    except OSError:
        return True


def test_idle_connections_make_room_for_requests(app: FastAPI) -> None:
    with served(app, connections=20) as (url, port), ExitStack() as idle:
        for _ in range(60):
            idle.enter_context(connect(port))
            assert httpx.get(f"{url}/livez", timeout=60).status_code == 200


def test_the_client_with_the_most_idle_connections_loses_one_first(app: FastAPI) -> None:
    with served(app, connections=6) as (_, port), ExitStack() as others:
        other = others.enter_context(socket.socket())
        other.bind(("127.0.0.2", 0))
        other.connect(("127.0.0.1", port))
        for _ in range(12):
            others.enter_context(connect(port))
        send(other, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        other.settimeout(60)
        assert other.recv(100).startswith(b"HTTP/1.1 200")


def test_when_all_connections_are_busy_one_more_is_503(
    app: FastAPI, client: httpx.Client, database_url: str
) -> None:
    from tests.api.conftest import OPERATORS_TOKEN

    with served(app, connections=3) as (_, port), ExitStack() as busy:
        for _ in range(3):
            stream = busy.enter_context(connect(port))
            send(stream, head("GET /v1/events?after=0", token=OPERATORS_TOKEN))
            assert stream.recv(100).startswith(b"HTTP/1.1 200")
        with connect(port) as one_more:
            assert answer(one_more)[0] == 503
