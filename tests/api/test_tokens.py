"""Tokens over HTTP: admins make, list, rotate and revoke them, and they end in time."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from httpx_sse import connect_sse
from sqlalchemy import text

from normlab.records.access import TokenRequest
from service.store import token_changes, tokens
from service.store.audit import Actor
from service.store.database import Database
from tests.api.conftest import a_job, log_in, token_header
from tests.tokens import create_token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def ending_in(database: Database, seconds: float) -> str:
    ends = datetime.now(UTC) + timedelta(seconds=seconds)
    asked = TokenRequest(owner="ada", scopes=["read"], expires_at=ends)
    return token_changes.issue(database, asked, Actor("root")).secret


def test_an_admin_makes_a_token_whose_secret_is_shown_once(
    client: httpx.Client, nobody: httpx.Client
) -> None:
    asked = {"owner": "ada", "scopes": ["submit", "read"], "note": "laptop"}
    response = client.post("/v1/tokens", json=asked)
    made = response.json()
    assert (response.status_code, response.headers["cache-control"]) == (201, "no-store")
    assert (made["owner"], made["scopes"]) == ("ada", ["read", "submit"])
    assert nobody.get("/v1/jobs", headers=bearer(made["secret"])).status_code == 200
    listed = client.get("/v1/tokens", params={"owner": "ada"})
    assert made["secret"] not in listed.text
    (token,) = listed.json()["tokens"]
    assert (token["id"], token["note"], token["state"]) == (made["id"], "laptop", "active")
    assert token["last_used_at"] is not None


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at", "in the past"),
        ({"expires_at": "2040-01-01T00:00:00"}, "expires_at", "timezone"),
        ({"scopes": ["root"]}, "scopes.0", "'admin'"),
        ({"scopes": []}, "scopes", "at least 1"),
        ({"owner": "a\nb"}, "owner", "U+000A cannot be shown"),
        ({"owner": "a\u202eb"}, "owner", "U+202E cannot be shown"),
        ({"note": "\x07"}, "note", "U+0007 cannot be shown"),
        ({"expires": "90d"}, "expires", "unknown field"),
    ],
)
def test_a_wrong_field_is_named_with_its_rule(
    client: httpx.Client, fields: dict[str, Any], field: str, rule: str
) -> None:
    response = client.post("/v1/tokens", json={"owner": "ada", **fields})
    (error,) = response.json()["errors"]
    assert (response.status_code, error["field"]) == (422, field)
    assert rule in error["rule"]


@pytest.mark.parametrize("token", ["no-id", "0197b2a4-0000-7000-8000-000000000000"])
def test_an_unknown_token_is_404(client: httpx.Client, token: str) -> None:
    assert client.delete(f"/v1/tokens/{token}").status_code == 404
    assert client.post(f"/v1/tokens/{token}/rotate", json={}).status_code == 404


def test_the_same_key_is_the_same_token_with_a_new_secret_until_it_is_used(
    client: httpx.Client, nobody: httpx.Client
) -> None:
    def ask(owner: str = "ada") -> httpx.Response:
        return client.post("/v1/tokens", json={"owner": owner}, headers={"Idempotency-Key": "k"})

    lost, again = ask().json(), ask().json()
    assert lost["id"] == again["id"]
    assert nobody.get("/v1/jobs", headers=bearer(lost["secret"])).status_code == 401
    assert ask("bob").json()["code"] == "idempotency_key_reused"
    assert nobody.get("/v1/jobs", headers=bearer(again["secret"])).status_code == 200
    used = ask()
    assert (used.status_code, used.json()["code"]) == (409, "conflict")
    assert len(client.get("/v1/tokens").json()["tokens"]) == 1


def test_the_error_for_a_revoked_token_says_so_at_once(
    client: httpx.Client, nobody: httpx.Client
) -> None:
    made = client.post("/v1/tokens", json={"owner": "ada"}).json()
    assert nobody.get("/v1/jobs", headers=bearer(made["secret"])).status_code == 200
    assert client.delete(f"/v1/tokens/{made['id']}").json()["state"] == "revoked"
    response = nobody.get("/v1/jobs", headers=bearer(made["secret"]))
    assert response.status_code == 401
    assert "was revoked" in response.json()["detail"]
    guessed = nobody.get("/v1/jobs", headers=bearer(made["secret"][:-1]))
    assert "this token is unknown" in guessed.json()["detail"]


def expire(database: Database, secret: str) -> None:
    """Let a token end a second ago."""
    query = (
        "update token set expires_at = clock_timestamp() - interval '1 s' where sha256 = :sha256"
    )
    with database.begin() as connection:
        assert connection.execute(text(query), {"sha256": tokens.hashed(secret)}).rowcount == 1


def test_the_old_secret_of_a_rotated_token_ends_after_its_grace(
    app: FastAPI, client: httpx.Client, nobody: httpx.Client, database: Database
) -> None:
    old = client.post("/v1/tokens", json={"owner": "ada", "note": "n"}).json()
    new = client.post(f"/v1/tokens/{old['id']}/rotate", json={"grace_s": 600}).json()
    assert (new["owner"], new["note"], new["id"] != old["id"]) == ("ada", "n", True)
    for secret in (old["secret"], new["secret"]):
        assert nobody.get("/v1/jobs", headers=bearer(secret)).status_code == 200
    ends = datetime.fromisoformat(new["predecessor_ends_at"])
    assert 0 < (ends - datetime.now(UTC)).total_seconds() <= 600
    expire(database, old["secret"])
    app.state.normlab.callers.forget()
    assert nobody.get("/v1/jobs", headers=bearer(old["secret"])).status_code == 401
    assert nobody.get("/v1/jobs", headers=bearer(new["secret"])).status_code == 200
    again = client.post(f"/v1/tokens/{old['id']}/rotate", json={})
    assert (again.status_code, new["id"] in again.json()["detail"]) == (409, True)


def test_the_last_admin_token_cannot_be_revoked(client: httpx.Client) -> None:
    first = client.post("/v1/tokens", json={"owner": "root", "scopes": ["admin"]}).json()
    refused = client.delete(f"/v1/tokens/{first['id']}")
    assert refused.status_code == 409
    assert "make one first" in refused.json()["detail"]
    client.post("/v1/tokens", json={"owner": "root", "scopes": ["admin"]})
    assert client.delete(f"/v1/tokens/{first['id']}").status_code == 200


def test_the_pages_of_tokens_contain_each_token_once(client: httpx.Client) -> None:
    made = [client.post("/v1/tokens", json={"owner": f"o{i}"}).json()["id"] for i in range(5)]
    found, cursor = [], None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = client.get("/v1/tokens", params=params).json()
        found += [token["id"] for token in page["tokens"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == made[::-1]
    assert client.get("/v1/tokens", params={"cursor": "x"}).status_code == 422


def test_a_cached_token_ends_when_the_token_expires(
    app: FastAPI, nobody: httpx.Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("api.callers.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(app.state.normlab.callers, "_keep_s", 10_000.0)
    token = ending_in(database, 600)
    assert nobody.get("/v1/jobs", headers=bearer(token)).status_code == 200
    expire(database, token)
    assert nobody.get("/v1/jobs", headers=bearer(token)).status_code == 200  # out of the cache
    now[0] += 601
    response = nobody.get("/v1/jobs", headers=bearer(token))
    assert response.status_code == 401
    assert "expired at" in response.json()["detail"]


@pytest.mark.parametrize("by_session", [False, True])
def test_an_open_stream_ends_with_its_token(
    nobody: httpx.Client, client: httpx.Client, database: Database, by_session: bool
) -> None:
    client.post("/v1/jobs", json=a_job())
    token = ending_in(database, 600)
    if by_session:
        log_in(nobody, token)
    headers = {} if by_session else bearer(token)
    with connect_sse(nobody, "GET", "/v1/events?after=0", headers=headers) as source:
        events = source.iter_sse()
        next(events)
        expire(database, token)
        list(events)
    assert nobody.get("/v1/events", headers=headers).status_code == 401


def test_a_followed_log_ends_when_its_token_expires(
    nobody: httpx.Client, client: httpx.Client, database: Database
) -> None:
    job = client.post("/v1/jobs", json=a_job()).json()["id"]
    headers = bearer(ending_in(database, 2))
    assert nobody.get(f"/v1/jobs/{job}/logs?follow=50", headers=headers).status_code == 401


def test_the_use_of_a_token_is_written_at_most_once_per_minute(database: Database) -> None:
    token = create_token(database, "ada", ["read"])

    def used() -> Any:
        tokens.find(database, token)
        with database.begin() as connection:
            return connection.execute(text("select last_used_at from token")).scalar_one()

    first = used()
    assert first is not None
    assert used() == first
    with database.begin() as connection:
        connection.execute(text("update token set last_used_at = last_used_at - interval '61 s'"))
    assert used() > first


def test_two_admins_cannot_revoke_each_other_at_once(database: Database) -> None:
    asked = TokenRequest(owner="root", scopes=["admin"])
    ids = [token_changes.issue(database, asked, Actor("root")).id for _ in range(2)]
    outcomes: list[str] = []

    def revoke(token: str) -> None:
        try:
            token_changes.revoke(database, token, Actor("root"))
            outcomes.append("revoked")
        except token_changes.Conflict:
            outcomes.append("refused")

    threads = [threading.Thread(target=revoke, args=(token,)) for token in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "revoked"]


def test_a_token_of_another_scope_cannot_make_tokens(
    nobody: httpx.Client, database: Database
) -> None:
    headers = token_header(database, "ada", "submit")
    response = nobody.post("/v1/tokens", json={"owner": "ada"}, headers=headers)
    assert response.status_code == 403
