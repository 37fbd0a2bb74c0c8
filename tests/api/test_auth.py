"""Without a token nothing is visible, and a token allows what its scopes say."""

from __future__ import annotations

import re

import httpx
import pytest
from fastapi import FastAPI

from service.store.database import Database
from tests.api.conftest import a_job, log_in, token_header
from tests.tokens import create_token, revoke_token

OPEN = {"/livez", "/readyz", "/openapi.json"}


def test_every_route_except_the_health_checks_requires_a_token(
    app: FastAPI, nobody: httpx.Client
) -> None:
    paths = app.openapi()["paths"]
    assert len(paths) > 20
    for path, methods in paths.items():
        for method in set(methods) - {"parameters"}:
            url = re.sub(r"\{\w+\}", "x", path)
            response = nobody.request(method, url)
            if path in OPEN:
                assert response.status_code == 200
            else:
                assert (response.status_code, response.json()["code"]) == (401, "unauthorized")


def test_an_unknown_or_revoked_token_is_401(nobody: httpx.Client, database: Database) -> None:
    token = create_token(database, "ada", ["read"])
    revoke_token(database, token)
    for bad in (token, "made up", "\xff".encode("latin-1").decode("latin-1")):
        response = nobody.get("/v1/jobs", headers={b"Authorization": f"Bearer {bad}".encode()})
        assert response.status_code == 401


def test_a_reader_may_only_read(nobody: httpx.Client, database: Database) -> None:
    headers = token_header(database, "ada", "read")
    assert nobody.get("/v1/jobs", headers=headers).status_code == 200
    response = nobody.post("/v1/jobs", json=a_job(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert "'submit'" in response.json()["detail"]


def test_a_submitter_owns_what_it_submits(nobody: httpx.Client, database: Database) -> None:
    headers = token_header(database, "ada", "submit")
    job = nobody.post("/v1/jobs", json=a_job(), headers=headers).json()["id"]
    assert nobody.get(f"/v1/jobs/{job}", headers=headers).json()["owner"] == "ada"


def test_the_cookie_works_like_the_header_for_our_own_pages(nobody: httpx.Client) -> None:
    log_in(nobody)
    assert nobody.get("/v1/jobs").status_code == 200
    assert nobody.post("/v1/jobs", json=a_job()).status_code == 202


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_can_change_nothing_with_the_cookie(nobody: httpx.Client, site: str) -> None:
    log_in(nobody)
    response = nobody.post("/v1/jobs", json=a_job(), headers={"Sec-Fetch-Site": site})
    assert response.status_code == 403
    assert nobody.get("/v1/jobs").json()["jobs"] == []
