"""The service below a path of a proxy, with and without TLS."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api import account_pages, pages, study_pages
from api.main import create_app
from api.server import tls_files
from normlab.client import Client
from normlab.errors import InvalidSpec, ServiceUnavailable
from normlab.stacks.connection import Connection, pinned
from service.jobs.doorbell import SilentDoorbell
from service.servers.launcher import _answers
from service.settings import Settings
from tests.api.conftest import OPERATORS_TOKEN, a_job
from tests.api.process import TOKEN, api_process
from tests.api.reverse_proxy import TLS, proxied
from tests.api.serving import serve

ROOT = "/user/ada/lab"
LINK = re.compile(r'(?:href|src|action)="(/[^"]*)"')


@pytest.fixture
def behind(settings: Settings) -> Iterator[str]:
    """The service, which is published below ROOT and trusts the proxies of this host."""
    changes = {"root_path": ROOT, "trusted_proxies": "127.0.0.0/8"}
    with serve(create_app(settings.model_copy(update=changes), SilentDoorbell())) as url:
        yield url


@pytest.mark.parametrize("how", ["strip", "keep"])
def test_everything_that_a_page_or_an_answer_names_is_below_the_root_path(
    behind: str, how: str
) -> None:
    with proxied(behind, ROOT, how) as url, httpx.Client(timeout=60) as browser:
        refused = browser.get(f"{url}/devices", headers={"Accept": "text/html"})
        assert refused.headers["location"] == f"{ROOT}/login?next=/devices"
        login = browser.post(f"{url}/login", data={"token": OPERATORS_TOKEN, "next": "/devices"})
        assert login.headers["location"] == f"{ROOT}/devices"
        cookies = login.headers.get_list("set-cookie")
        assert all(f"; Path={ROOT};" in cookie for cookie in cookies), cookies
        made = browser.post(f"{url}/v1/jobs", json=a_job())
        assert made.headers["location"] == f"{ROOT}/v1/jobs/{made.json()['id']}"
        _walk(browser, url, {f"/jobs/{made.json()['id']}", "/jobs/new", "/studies/new", "/audit"})
        problem = browser.get(f"{url}/v1/jobs/nope").json()
        assert problem["instance"] == f"{ROOT}/v1/jobs/nope"
        assert browser.get(f"{url}/openapi.json").json()["servers"] == [{"url": ROOT}]
        out = browser.post(f"{url}/logout")
        assert (out.headers["location"], browser.cookies.get("normlab_session")) == (
            f"{ROOT}/login",
            None,
        )


def _walk(browser: httpx.Client, url: str, first: set[str]) -> None:
    """Follow every link of every page; each leads to something below the root path."""
    origin = url.removesuffix(ROOT)
    todo, seen = {f"{ROOT}{path}" for path in first}, {f"{ROOT}/logout"}
    while todo:
        path = todo.pop()
        seen.add(path)
        answer = browser.get(origin + path)
        assert answer.status_code in (200, 307, 405, 409), (path, answer.status_code)
        links = LINK.findall(answer.text) if "text/html" in answer.headers["content-type"] else []
        outside = [link for link in links if not link.startswith(f"{ROOT}/")]
        assert outside == [], path
        todo |= {link.replace("&amp;", "&") for link in links} - seen


def test_streams_and_programs_work_below_the_root_path(behind: str) -> None:
    with proxied(behind, ROOT) as url, Client(url, OPERATORS_TOKEN) as client:
        job = client.submit(a_job()).id
        seen = []
        for event in client.events(job):
            seen.append(event.kind)
            if event.kind == "queued":
                client.cancel(job)
        assert seen[0] == "queued"
        assert seen[-1] in ("cancelled", "progress")


def _client_of(app: FastAPI, **headers: str) -> dict[str, Any]:
    with serve(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        login = client.post("/login", data={"token": OPERATORS_TOKEN}, headers=headers)
        return {"status": login.status_code, "cookie": login.headers.get("set-cookie", "")}


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8"])
def test_what_others_than_trusted_proxies_forward_is_not_believed(
    settings: Settings, trusted: str
) -> None:
    app = create_app(settings.model_copy(update={"trusted_proxies": trusted}), SilentDoorbell())
    forged = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    found = _client_of(app, **forged)
    assert found["status"] == 303
    assert "Secure" not in found["cookie"]


def test_a_trusted_proxys_host_must_be_allowed_and_its_https_makes_cookies_secure(
    settings: Settings,
) -> None:
    trusting = settings.model_copy(update={"trusted_proxies": "127.0.0.1"})
    https = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "lab.example, inner"}
    assert _client_of(create_app(trusting, SilentDoorbell()), **https)["status"] == 400
    naming = trusting.model_copy(update={"allowed_hosts": "lab.example"})
    origin = {"Origin": "https://lab.example"}
    found = _client_of(create_app(naming, SilentDoorbell()), **https, **origin)
    assert found["status"] == 303
    assert "; Secure" in found["cookie"]


def test_the_api_serves_https_itself_and_the_stacks_own_clients_know_its_certificate(
    database_url: str, tmp_path: Path
) -> None:
    files = {"tls_cert": str(TLS[0]), "tls_key": str(TLS[1])}
    with api_process(database_url, tmp_path, **files) as api:
        assert api.url.startswith("https://127.0.0.1:")
        with Client(api.url, TOKEN, certificate=TLS[0]) as client:
            assert len(client.devices()) > 0
        own = Connection(api.url, TOKEN, certificate=str(TLS[0]))
        assert _answers(own)  # for the user who started the stack
        assert not _answers(Connection(api.url, TOKEN))
        refused = pytest.raises(ServiceUnavailable, match="certificate verify failed")
        with Client(api.url, TOKEN, tries=1) as stranger, refused:
            stranger.devices()


def test_another_certificate_than_the_pinned_one_is_not_accepted(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="cannot be read"):
        pinned(tmp_path / "nothing.pem")
    assert pinned(TLS[0]).verify_mode == ssl.CERT_REQUIRED


def test_files_that_are_no_certificate_are_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    with pytest.raises(InvalidSpec, match=r"NORMLAB_TLS_CERT=.*x\.pem.* cannot be used"):
        tls_files(tmp_path / "x.pem", TLS[1])
    with pytest.raises(ValueError, match="NORMLAB_TLS_CERT needs NORMLAB_TLS_KEY"):
        Settings(tls_cert=TLS[0])


SCRIPTS = sorted((Path(__file__).parents[2] / "api" / "static").glob("*.js"))
# functions that add it
ADDING = re.compile(r"\b(?:ask|post|tryOut|follow|at|inProject|read)\(")
PAGES = (pages, study_pages, account_pages)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_pass_every_address_through_what_adds_the_root_path(script: Path) -> None:
    routes = [r for module in PAGES for r in module.router.routes]
    places = {"v1", "static", *(getattr(r, "path", "/").split("/")[1] for r in routes)} - {""}
    address = re.compile(rf"""[`"']/(?:{"|".join(sorted(places))})\b""")
    assert {"v1", "jobs", "studies"} <= places
    code = re.sub(r"^\s*//.*$", "", script.read_text(), flags=re.M)
    lines = [line.strip() for line in code.splitlines() if address.search(line)]
    assert [line for line in lines if not ADDING.search(line)] == []
