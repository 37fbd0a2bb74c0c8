"""A real application on a real database, and clients with tokens of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.main import create_app
from service.jobs.doorbell import SilentDoorbell
from service.settings import Settings
from service.store.database import Database
from service.store.tokens import Scope
from tests.api.serving import serve
from tests.tokens import create_token

OPERATORS_TOKEN = "an-operators-token-for-tests"


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(
        database_url=database_url,
        data_dir=tmp_path,
        data_root=tmp_path / "datasets",
        token=OPERATORS_TOKEN,
        allow_code="*",
        inspector_socket=tmp_path / "nobody",  # these tests need no process with torch
    )


@pytest.fixture
def doorbell() -> SilentDoorbell:
    return SilentDoorbell()


@pytest.fixture
def app(settings: Settings, doorbell: SilentDoorbell) -> FastAPI:
    return create_app(settings, doorbell)


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    with serve(app) as url:
        yield url


@pytest.fixture
def nobody(url: str) -> Iterator[httpx.Client]:
    """A client without a token."""
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    """A client with the operator's token."""
    headers = {"Authorization": f"Bearer {OPERATORS_TOKEN}"}
    with httpx.Client(base_url=url, timeout=60, headers=headers) as client:
        yield client


def token_header(database: Database, owner: str, *scopes: Scope) -> dict[str, str]:
    """Make a token and return the header with it."""
    return {"Authorization": f"Bearer {create_token(database, owner, scopes)}"}


def log_in(client: httpx.Client, token: str = OPERATORS_TOKEN) -> None:
    """Give *client* the cookie that a browser has after its login."""
    assert client.post("/login", data={"token": token}).status_code == 303


def a_job(**fields: Any) -> dict[str, Any]:
    """A small job that can run."""
    return {"normalizer": "batch", "dataset": {"name": "digits"}, "batch_size": 8, **fields}


def ask(client: httpx.Client, method: str, path: str, **question: Any) -> httpx.Response:
    """Ask the same again while a slow machine works on it, as the page does."""
    while True:
        response = client.request(method, path, **question)
        if response.status_code != 202:
            return response
