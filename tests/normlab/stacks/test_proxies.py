"""The loopback interface is reached directly, other hosts through the proxy of the environment."""

from __future__ import annotations

from typing import Iterator, List

import httpx
import pytest

from normlab.client import Client
from normlab.errors import InvalidSpec, ServiceUnavailable
from normlab.exports.mlflow import MlflowServer
from normlab.stacks.proxies import http_client, is_loopback
from tests.answering import Answers, answering

DEAD = "http://127.0.0.1:9"
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
every_proxy = pytest.mark.parametrize(
    ("name", "proxy"),
    [(name, DEAD) for name in (*NAMES, *(name.lower() for name in NAMES))]
    + [("ALL_PROXY", "socks5://127.0.0.1:9"), ("all_proxy", "socks://127.0.0.1:9")],
)


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def asked() -> List[str]:
    """The requests that the server got."""
    return []


@pytest.fixture
def server(asked: List[str]) -> Iterator[str]:
    class Handler(Answers):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[]")

    with answering(Handler) as port:
        yield f"http://127.0.0.1:{port}"


@every_proxy
def test_the_client_reaches_this_host_without_the_proxy(
    server: str, monkeypatch: pytest.MonkeyPatch, name: str, proxy: str
) -> None:
    monkeypatch.setenv(name, proxy)
    with Client(server, tries=1) as client:
        assert client.devices() == []


def test_another_host_is_reached_through_the_proxy(
    server: str, asked: List[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server)
    with Client("http://elsewhere.invalid", tries=1) as client:
        assert client.devices() == []
    assert asked == ["http://elsewhere.invalid/v1/devices"]


def test_no_proxy_names_hosts_that_are_reached_directly(
    server: str, asked: List[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server)
    monkeypatch.setenv("NO_PROXY", "elsewhere.invalid")
    with Client("http://elsewhere.invalid", tries=1) as client, pytest.raises(ServiceUnavailable):
        client.devices()
    assert asked == []


def test_an_unusable_proxy_is_named_with_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://127.0.0.1:9")
    with pytest.raises(InvalidSpec, match=r"gopher.*NO_PROXY"):
        Client("http://elsewhere.invalid")


def test_an_export_to_a_server_on_this_host_needs_no_proxy(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", DEAD)
    with MlflowServer(server) as mlflow:
        assert mlflow._http.get("/x").status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "a.localhost", "127.8.9.1", "[::1]", "0.0.0.0", "[::]"]
)
def test_this_host_is_known_by_all_its_names(host: str) -> None:
    assert is_loopback(f"http://user:word@{host}:8000/v1")


@pytest.mark.parametrize("host", ["localhost.example.org", "10.0.0.1", "mylocalhost", "[fe80::1]"])
def test_other_hosts_are_not_this_one(host: str) -> None:
    assert not is_loopback(f"http://{host}:8000")


def test_the_timeout_is_the_one_that_was_given() -> None:
    with http_client("http://127.0.0.1:1", timeout=httpx.Timeout(3)) as client:
        assert client.timeout == httpx.Timeout(3)
