"""A browser's login: a separate session, which ends on the server."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from api.main import create_app
from normlab.records.access import TokenRequest
from service.jobs.doorbell import SilentDoorbell
from service.settings import Settings
from service.store import token_changes
from service.store.audit import Actor
from service.store.database import Database
from tests.api.conftest import OPERATORS_TOKEN, log_in
from tests.api.serving import serve
from tests.tokens import create_token

COOKIE = "normlab_session"


def change(database: Database, statement: str) -> None:
    with database.begin() as connection:
        connection.execute(text(statement))


def test_the_cookie_holds_a_session_and_the_database_its_hash(
    nobody: httpx.Client, database: Database
) -> None:
    log_in(nobody)
    session = nobody.cookies[COOKIE]
    assert session != OPERATORS_TOKEN
    with database.begin() as connection:
        stored = connection.execute(text("select session::text from session")).scalar_one()
    assert session not in stored
    assert nobody.get("/v1/jobs").status_code == 200


def test_a_session_is_not_a_token_and_a_token_is_not_a_session(nobody: httpx.Client) -> None:
    log_in(nobody)
    session = nobody.cookies.get(COOKIE)
    nobody.cookies.clear()
    bearer = {"Authorization": f"Bearer {session}"}
    assert nobody.get("/v1/jobs", headers=bearer).status_code == 401
    assert nobody.post("/login", data={"token": session or ""}).status_code == 401
    nobody.cookies.set(COOKIE, OPERATORS_TOKEN)
    assert nobody.get("/v1/jobs").status_code == 401


def test_a_cookie_of_an_earlier_version_requires_a_new_login(nobody: httpx.Client) -> None:
    nobody.cookies.set("normlab_token", OPERATORS_TOKEN)
    response = nobody.get("/v1/jobs")
    assert response.status_code == 401
    assert "log in again" in response.json()["detail"]
    page = nobody.get("/jobs", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/login?next=/jobs")


def test_logout_ends_the_session_on_the_server(nobody: httpx.Client) -> None:
    log_in(nobody)
    copied = nobody.cookies[COOKIE]
    assert nobody.get("/v1/jobs").status_code == 200
    assert nobody.post("/logout").status_code == 303
    assert COOKIE not in nobody.cookies
    nobody.cookies.set(COOKIE, copied)
    response = nobody.get("/v1/jobs")
    assert response.status_code == 401
    assert "log in again" in response.json()["detail"]


def test_a_session_survives_a_restart_of_the_api(settings: Settings) -> None:
    cookies = httpx.Cookies()
    for first in (True, False):
        app = create_app(settings, SilentDoorbell())
        with serve(app) as url, httpx.Client(base_url=url, cookies=cookies, timeout=60) as client:
            if first:
                log_in(client)
            assert client.get("/v1/jobs").status_code == 200
            cookies = httpx.Cookies({COOKIE: client.cookies[COOKIE]})


@pytest.mark.parametrize(
    "statement",
    [
        "update session set seen_at = seen_at - interval '25 hours'",
        "update session set expires_at = clock_timestamp()",
        "update token set expires_at = clock_timestamp()",
        "update token set revoked_at = clock_timestamp()",
        "delete from token",
    ],
)
def test_a_session_ends_when_idle_when_expired_and_with_its_token(
    nobody: httpx.Client, app: FastAPI, database: Database, statement: str
) -> None:
    log_in(nobody, create_token(database, "ada", ["read"]))
    assert nobody.get("/v1/jobs").status_code == 200
    change(database, statement)
    app.state.normlab.callers.forget()  # the cache of some seconds
    assert nobody.get("/v1/jobs").status_code == 401


def test_a_session_of_the_operator_ends_with_the_operators_token(
    settings: Settings, nobody: httpx.Client
) -> None:
    log_in(nobody)
    other = settings.model_copy(update={"token": None})
    cookies = {COOKIE: nobody.cookies[COOKIE]}
    app = create_app(other, SilentDoorbell())
    with serve(app) as url, httpx.Client(base_url=url, cookies=cookies, timeout=60) as client:
        assert client.get("/v1/jobs").status_code == 401


def test_a_login_can_end_only_logins_of_the_same_owner(url: str, database: Database) -> None:
    ada, bob = (create_token(database, name, ["read"]) for name in ("ada", "bob"))
    with httpx.Client(base_url=url, timeout=60) as one, httpx.Client(
        base_url=url, timeout=60
    ) as two:
        log_in(one, ada)
        log_in(two, bob)
        with database.begin() as connection:
            query = text("select id from session where owner = 'ada'")
            session = connection.execute(query).scalar_one()
        path = f"/account/sessions/{session}/end"
        assert two.post(path).status_code == 404
        assert one.get("/account").status_code == 200
        log_in(two, ada)
        assert two.post(path).status_code == 303
        assert one.get("/v1/jobs").status_code == 401
        assert two.get("/v1/jobs").status_code == 200


def test_a_login_cannot_revoke_a_token_with_more_permissions(
    nobody: httpx.Client, database: Database
) -> None:
    def issue(scope: str) -> str:
        asked = TokenRequest.read({"owner": "ada", "scopes": [scope]})
        return token_changes.issue(database, asked, Actor("root")).id

    more, same = issue("submit"), issue("read")
    log_in(nobody, create_token(database, "ada", ["read"]))
    assert nobody.post(f"/account/tokens/{more}/revoke").status_code == 403
    assert nobody.post(f"/account/tokens/{same}/revoke").status_code == 303
    page = nobody.get("/account").text
    assert more[-8:] in page
    assert same[-8:] not in page
