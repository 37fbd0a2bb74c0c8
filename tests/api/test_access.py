"""The permissions of every kind of caller on every route, in one table that must be complete."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from normlab.records.access import TokenRequest
from service.store import token_changes
from service.store.audit import Actor
from service.store.database import Database
from tests.api.conftest import OPERATORS_TOKEN, a_job
from tests.tokens import create_token

STUDY = {
    "name": "s",
    "base": {"dataset": {"name": "digits"}, "batch_size": 8},
    "axes": {"normalizer": ["batch"]},
}
VIEW = {"name": "another view", "content": {"columns": ["name"]}}
NO_JOB = "0197b2a4-0000-7000-8000-000000000000"
ROLES = ("nobody", "expired", "revoked", "reader", "other", "owner", "admin")
KNOWN = {"reader", "other", "owner", "admin"}
# who is allowed; `reader` and `owner` are ada, whose job, study and token are in the paths
WHO: dict[str, set[str]] = {
    "all": set(ROLES),
    "known": KNOWN,
    "submitters": KNOWN - {"reader"},
    "owner": {"owner", "admin"},
    "same name": KNOWN - {"other"},
    "admins": {"admin"},
}
MAY: dict[tuple[str, str], str] = {
    ("GET", "/openapi.json"): "all",
    ("GET", "/livez"): "all",
    ("GET", "/readyz"): "all",
    ("GET", "/metrics"): "known",
    ("POST", "/v1/jobs"): "submitters",
    ("POST", "/v1/jobs:validate"): "known",
    ("GET", "/v1/jobs"): "known",
    ("GET", "/v1/jobs:fields"): "known",
    ("POST", "/v1/jobs:read"): "known",
    ("POST", "/v1/jobs:write"): "known",
    ("POST", "/v1/jobs:table"): "known",
    ("POST", "/v1/jobs:groups"): "known",
    ("POST", "/v1/jobs:compare"): "known",
    ("POST", "/v1/jobs:export"): "known",
    ("POST", "/v1/jobs:cancel"): "submitters",
    ("POST", "/v1/jobs:delete"): "submitters",
    ("POST", "/v1/jobs:label"): "submitters",
    ("PATCH", "/v1/jobs/{job}"): "owner",
    ("PATCH", "/v1/studies/{study}"): "owner",
    ("GET", "/v1/views"): "known",
    ("POST", "/v1/views"): "known",
    ("GET", "/v1/views/{view}"): "known",
    ("PUT", "/v1/views/{view}"): "same name",
    ("DELETE", "/v1/views/{view}"): "same name",
    ("GET", "/v1/jobs/{job}"): "known",
    ("POST", "/v1/jobs/{job}/cancel"): "owner",
    ("POST", "/v1/jobs/{job}/retry"): "owner",
    ("POST", "/v1/jobs/{job}/continue"): "submitters",
    ("DELETE", "/v1/jobs/{job}"): "owner",
    ("POST", "/v1/jobs/{job}/restore"): "owner",
    ("GET", "/v1/jobs/{job}/metrics"): "known",
    ("GET", "/v1/jobs/{job}/metrics:names"): "known",
    ("GET", "/v1/series"): "known",
    ("GET", "/v1/jobs/{job}/events"): "known",
    ("GET", "/v1/events"): "known",
    ("GET", "/v1/jobs/{job}/logs"): "known",
    ("GET", "/v1/jobs/{job}/artifacts"): "known",
    ("GET", "/v1/jobs/{job}/artifacts/{name}"): "known",
    ("GET", "/v1/jobs/{job}/weights"): "known",
    ("GET", "/v1/jobs/{job}/diagnostics"): "known",
    ("GET", "/v1/jobs/{job}/inside"): "known",
    ("GET", "/v1/jobs/{job}/network"): "known",
    ("GET", "/v1/jobs/{job}/outlook"): "known",
    ("GET", "/v1/normalizers/{kind}/sample"): "known",
    ("GET", "/v1/normalizers"): "known",
    ("GET", "/v1/models"): "known",
    ("GET", "/v1/datasets"): "known",
    ("GET", "/v1/diagnostics"): "known",
    ("GET", "/v1/plugins"): "known",
    ("POST", "/v1/plugins"): "submitters",
    ("GET", "/v1/plugins/{digest}/source"): "known",
    ("GET", "/v1/parts"): "known",
    ("GET", "/v1/devices"): "known",
    ("POST", "/v1/studies"): "submitters",
    ("POST", "/v1/studies:preview"): "known",
    ("GET", "/v1/studies"): "known",
    ("GET", "/v1/studies/{study}"): "known",
    ("GET", "/v1/studies/{study}/cells"): "known",
    ("PUT", "/v1/studies/{study}"): "owner",
    ("POST", "/v1/studies/{study}/priority"): "owner",
    ("POST", "/v1/studies/{study}/{verb}"): "owner",
    ("GET", "/v1/studies/{study}/metrics"): "known",
    ("GET", "/v1/studies/{study}/results"): "known",
    ("GET", "/v1/studies/{study}/differences"): "known",
    ("GET", "/v1/studies/{study}/figure"): "known",
    ("GET", "/v1/studies/{study}/search"): "known",
    ("POST", "/v1/studies:read"): "known",
    ("POST", "/v1/studies:write"): "known",
    ("GET", "/v1/studies/{study}/compare"): "known",
    ("GET", "/v1/studies/{study}/decision"): "known",
    ("DELETE", "/v1/studies/{study}"): "owner",
    ("POST", "/v1/studies/{study}/restore"): "owner",
    ("GET", "/v1/trash"): "known",
    ("POST", "/v1/trash:empty"): "submitters",
    ("GET", "/v1/usage"): "known",
    ("GET", "/v1/projects"): "known",
    ("POST", "/v1/projects"): "admins",
    ("GET", "/v1/projects/{project}"): "known",
    ("PUT", "/v1/projects/{project}/members"): "admins",
    ("DELETE", "/v1/projects/{project}/members"): "admins",
    ("GET", "/v1/projects/{project}/keep"): "known",
    ("PUT", "/v1/projects/{project}/keep"): "admins",
    ("GET", "/v1/projects/{project}/expired"): "known",
    ("POST", "/v1/projects/{project}/expired:remove"): "admins",
    ("POST", "/projects/{project}/keep"): "admins",
    ("GET", "/v1/limits"): "known",
    ("PUT", "/v1/limits"): "admins",
    ("POST", "/v1/tokens"): "admins",
    ("GET", "/v1/tokens"): "admins",
    ("DELETE", "/v1/tokens/{token}"): "admins",
    ("POST", "/v1/tokens/{token}/rotate"): "admins",
    ("GET", "/v1/audit"): "admins",
    ("GET", "/"): "all",
    ("GET", "/jobs"): "known",
    ("GET", "/jobs/rows"): "known",
    ("GET", "/jobs/new"): "known",
    ("GET", "/jobs/{job}"): "known",
    ("GET", "/jobs/{job}/inside"): "known",
    ("GET", "/normalizers"): "known",
    ("GET", "/normalizers/{kind}"): "known",
    ("GET", "/devices"): "known",
    ("GET", "/runs"): "known",
    ("GET", "/compare"): "known",
    ("GET", "/studies"): "known",
    ("GET", "/studies/new"): "known",
    ("GET", "/studies/{study}"): "known",
    ("POST", "/jobs/{job}/labels"): "owner",
    ("POST", "/jobs/{job}/archive"): "owner",
    ("POST", "/studies/{study}/labels"): "owner",
    ("POST", "/studies/{study}/archive"): "owner",
    ("GET", "/login"): "all",
    ("POST", "/login"): "all",
    ("POST", "/logout"): "all",
    ("GET", "/account"): "known",
    ("POST", "/account/sessions/{session}/end"): "known",
    ("POST", "/account/tokens/{token}/revoke"): "same name",
    ("GET", "/usage"): "known",
    ("GET", "/audit"): "admins",
    ("GET", "/projects"): "known",
    ("POST", "/projects"): "admins",
    ("POST", "/projects/{project}/members"): "admins",
    ("POST", "/projects/{project}/members/remove"): "admins",
}
BODIES: dict[tuple[str, str], dict[str, object]] = {
    ("POST", "/v1/jobs"): {"json": a_job()},
    ("POST", "/v1/jobs:validate"): {"json": a_job()},
    ("POST", "/v1/jobs/{job}/continue"): {"json": {"epochs": 50}},
    ("POST", "/v1/jobs:read"): {"json": {"text": "normalizer: batch"}},
    ("POST", "/v1/jobs:write"): {"json": {"spec": a_job()}},
    ("POST", "/v1/jobs:table"): {"json": {"columns": ["name", "owner"]}},
    ("POST", "/v1/jobs:groups"): {"json": {"columns": ["name", "owner"]}},
    ("POST", "/v1/jobs:export"): {"json": {"columns": ["name", "owner"]}},
    ("POST", "/v1/jobs:compare"): {"json": {"jobs": [NO_JOB]}},
    ("POST", "/v1/jobs:cancel"): {"json": {"jobs": [NO_JOB]}},
    ("POST", "/v1/jobs:delete"): {"json": {"jobs": [NO_JOB]}},
    ("POST", "/v1/jobs:label"): {"json": {"jobs": [NO_JOB], "add_tags": ["a"]}},
    ("PATCH", "/v1/jobs/{job}"): {"json": {"tags": ["a"]}},
    ("PATCH", "/v1/studies/{study}"): {"json": {"tags": ["a"]}},
    ("POST", "/jobs/{job}/labels"): {"data": {"name": "a"}},
    ("POST", "/studies/{study}/labels"): {"data": {"name": "a"}},
    ("POST", "/jobs/{job}/archive"): {"data": {"archived": "false"}},
    ("POST", "/studies/{study}/archive"): {"data": {"archived": "false"}},
    ("POST", "/v1/views"): {"json": VIEW},
    ("PUT", "/v1/views/{view}"): {"json": VIEW},
    ("POST", "/v1/studies"): {"json": STUDY},
    ("PUT", "/v1/studies/{study}"): {"json": STUDY},
    ("POST", "/v1/studies:preview"): {"json": STUDY},
    ("POST", "/v1/studies/{study}/priority"): {"json": {"priority": 1}},
    ("POST", "/v1/plugins"): {"json": {"name": "my", "files": {"no.txt": ""}}},
    ("POST", "/v1/projects"): {"json": {"name": "new"}},
    ("PUT", "/v1/projects/{project}/members"): {"json": {"owner": "eve"}},
    ("DELETE", "/v1/projects/{project}/members"): {"params": {"owner": "eve"}},
    ("POST", "/projects"): {"data": {"name": "newer"}},
    ("POST", "/projects/{project}/members"): {"data": {"owner": "eve"}},
    ("POST", "/projects/{project}/members/remove"): {"data": {"owner": "eve"}},
    ("PUT", "/v1/projects/{project}/keep"): {"json": {"logs_days": 90}},
    ("POST", "/projects/{project}/keep"): {"data": {"logs_days": "90"}},
    ("PUT", "/v1/limits"): {"json": {"subject": "owner", "name": "eve", "queued": 9}},
    ("POST", "/v1/tokens"): {"json": {"owner": "eve"}},
    ("POST", "/v1/tokens/{token}/rotate"): {"json": {}},
    ("POST", "/login"): {"data": {"token": OPERATORS_TOKEN}},
    ("GET", "/v1/series"): {"params": {"name": "x", "job": "x"}},
    ("GET", "/v1/jobs/{job}/metrics"): {"params": {"name": "x"}},
    ("GET", "/v1/studies/{study}/compare"): {"params": {"axis": "x", "a": "1", "b": "2"}},
}


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    for route in app.routes:
        effective = getattr(route, "effective_route_contexts", None)
        for one in effective() if effective else [route]:
            for method in getattr(one, "methods", None) or ():
                if method != "HEAD":
                    yield method, one.path


def a_token(database: Database, role: str) -> str | None:
    if role == "nobody":
        return None
    owner = {"other": "bob", "admin": "root"}.get(role, "ada")
    scope = {"reader": "read", "admin": "admin"}.get(role, "submit")
    asked = TokenRequest.read({"owner": owner, "scopes": [scope]})
    issued = token_changes.issue(database, asked, Actor("root"))
    if role == "revoked":
        token_changes.revoke(database, issued.id, Actor("root"))
    if role == "expired":
        with database.begin() as connection:
            ended = {"id": issued.id, "at": datetime.now(UTC) - timedelta(seconds=1)}
            connection.execute(text("update token set expires_at = :at where id = :id"), ended)
    return issued.secret


@pytest.fixture
def places(database: Database, client: httpx.Client) -> dict[str, str]:
    ada = {"Authorization": f"Bearer {create_token(database, 'ada', ['submit'])}"}

    def made(path: str, **asked: Any) -> str:
        answer = client.post(path, json=asked, headers=ada)
        return str(answer.raise_for_status().json()["id"])

    job, study = made("/v1/jobs", **a_job()), made("/v1/studies", **STUDY)
    view = made("/v1/views", **{**VIEW, "name": "mine"})
    spare = TokenRequest.read({"owner": "ada"})
    token = token_changes.issue(database, spare, Actor("root")).id
    return {"job": job, "study": study, "token": token, "session": "x", "name": "x",
            "digest": "x", "verb": "pause", "project": "default", "view": view,
            "kind": "batch"}  # fmt: skip


def test_a_new_route_must_declare_its_permissions(app: FastAPI) -> None:
    assert sorted(routes(app)) == sorted(MAY)


@pytest.mark.parametrize("role", ROLES)
def test_each_kind_of_caller_may_use_the_routes_that_the_table_allows(
    role: str,
    nobody: httpx.Client,
    database: Database,
    places: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.strangers._FREE", 1000)  # so that nothing waits here
    token = a_token(database, role)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    wrong = []
    for (method, path), who in MAY.items():
        given: dict[str, Any] = BODIES.get((method, path), {})
        nobody.cookies.clear()  # of the login that was tried out
        with nobody.stream(method, path.format(**places), **given, headers=headers) as answer:
            status = answer.status_code
        refused = 403 if role in KNOWN else 401
        fits = status not in (401, 403) and status < 500 if role in WHO[who] else status == refused
        wrong += [] if fits else [f"{method} {path} is {status} for {role}"]
    assert wrong == []
