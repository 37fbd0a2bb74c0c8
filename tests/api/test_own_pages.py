"""Only our own names and pages: forged hosts, posts from other sites, security headers."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from api.hosts import allowed_hosts, host_name
from api.main import create_app
from service.settings import Settings
from tests.api.conftest import OPERATORS_TOKEN, log_in
from tests.api.process import head
from tests.api.serving import client_of, serve
from tests.api.test_connections import answer, connect, send

FORGED = [
    "evil.example",
    "evil.example:80",
    "127.0.0.1.evil.example",
    "localhost@evil",
    "a:b:c",
    "",
]
SITES = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1"},  # another port is another site
    {"Origin": "http://[bad"},
]


@pytest.mark.parametrize("host", FORGED)
@pytest.mark.parametrize("path", ["/livez", "/jobs/", "/v1/jobs/", "/no/such/page"])
def test_a_forged_host_is_refused_and_never_redirected_to(
    nobody: httpx.Client, host: str, path: str
) -> None:
    response = nobody.get(path, headers={"Host": host})
    assert (response.status_code, response.json()["code"]) == (400, "unknown_host")
    assert "location" not in response.headers


def test_loopback_names_are_accepted(nobody: httpx.Client) -> None:
    for host in ("localhost", "LOCALHOST:8642", "127.0.0.1:1", "[::1]:8642", "localhost."):
        assert nobody.get("/livez", headers={"Host": host}).status_code == 200


def test_an_operator_can_add_names(settings: Settings) -> None:
    named = settings.model_copy(update={"allowed_hosts": "lab.example,*.norm.example"})
    with client_of(create_app(named)) as client:
        for host in ("lab.example", "a.norm.example:80", "localhost"):
            assert client.get("/livez", headers={"Host": host}).status_code == 200
        for host in ("norm.example", "x.lab.example"):
            assert client.get("/livez", headers={"Host": host}).status_code == 400


def test_the_operator_can_allow_any_name(settings: Settings) -> None:
    with client_of(create_app(settings.model_copy(update={"allowed_hosts": "*"}))) as client:
        assert client.get("/livez", headers={"Host": "anything"}).status_code == 200


def test_the_bound_name_is_accepted_with_any_port() -> None:
    assert "lab.example" in allowed_hosts("lab.example")
    assert len(allowed_hosts("0.0.0.0")) > 3  # this machine's own name
    assert [host_name(h) for h in ("A.b:80", "[::1]:80", "[::1]", "x:y", "")] == [
        "a.b", "::1", "::1", "", ""
    ]  # fmt: skip


def test_a_request_without_a_host_or_with_two_is_refused(app: FastAPI) -> None:
    with serve(app) as url:
        for hosts in (b"", b"Host: localhost\r\nHost: evil\r\n"):
            with connect(int(url.rpartition(":")[2])) as connection:
                send(connection, b"GET /livez HTTP/1.1\r\nConnection: close\r\n" + hosts + b"\r\n")
                assert answer(connection)[0] == 400


@pytest.mark.parametrize("site", SITES)
def test_no_page_accepts_a_post_from_another_site(
    nobody: httpx.Client, site: dict[str, str]
) -> None:
    response = nobody.post("/login", data={"token": OPERATORS_TOKEN}, headers=site)
    assert response.status_code == 403
    assert "set-cookie" not in response.headers
    log_in(nobody)
    for method, path in [("POST", "/logout"), ("POST", "/v1/jobs"), ("DELETE", "/v1/jobs")]:
        response = nobody.request(method, path, headers=site)
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")


def test_our_own_page_logs_in_and_out(nobody: httpx.Client) -> None:
    ours = {"Origin": str(nobody.base_url).rstrip("/")}
    for headers in (ours, {"Sec-Fetch-Site": "same-origin"}, {}):
        response = nobody.post("/login", data={"token": OPERATORS_TOKEN}, headers=headers)
        assert response.status_code == 303
        cookie = response.headers["set-cookie"]
        assert "SameSite=strict" in cookie
        assert "HttpOnly" in cookie
        assert nobody.post("/logout", headers=headers).status_code == 303


def test_a_token_in_the_header_works_from_any_origin(nobody: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {OPERATORS_TOKEN}", "Origin": "http://evil.example"}
    assert nobody.post("/v1/jobs:validate", json={}, headers=headers).status_code == 422


def test_every_response_forbids_sniffing_and_framing(app: FastAPI, tmp_path: Path) -> None:
    lines = [
        head("GET /livez", "Connection: close"),
        head("GET /login", "Connection: close"),
        head("GET /static/app.css", "Connection: close"),
        head("GET /v1/jobs", "Connection: close", token=None),
        head("GET /nothing", "Connection: close"),
        head("GET /livez", "Connection: close").replace(b"localhost", b"evil"),
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 300 + b"\r\n",
    ]
    with serve(app) as url:
        for line in lines:
            with connect(int(url.rpartition(":")[2])) as connection:
                send(connection, line)
                said = answer(connection)[1].lower()
            for header in (
                "x-content-type-options: nosniff",
                "referrer-policy: same-origin",
                "content-security-policy: frame-ancestors 'none'",
                "x-frame-options: deny",
            ):
                assert header in said.partition("\r\n\r\n")[0], line
