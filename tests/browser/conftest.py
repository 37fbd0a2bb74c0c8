"""A real page in a real browser: Chromium against the application on a real database."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from api.main import create_app
from service.jobs.doorbell import SilentDoorbell
from service.settings import Settings
from tests.api.serving import serve

TOKEN = "a-token-for-the-browser"
_PATIENCE_MS = 60_000  # a busy machine is slow, which is not a failure of the page
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = next((path for path in map(shutil.which, _NAMES) if path), None)
    if found is None:
        pytest.skip(f"no Chromium is on PATH (looked for {', '.join(_NAMES)})")
    with sync_playwright() as playwright:
        try:
            # Containers have no user namespaces for its sandbox
            launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except Error as e:
            pytest.skip(f"{found} does not start: {e}")
        yield launched
        launched.close()


@pytest.fixture
def url(database_url: str, tmp_path: Path) -> Iterator[str]:
    settings = Settings(
        database_url=database_url,
        data_dir=tmp_path,
        token=TOKEN,
        inspector_socket=tmp_path / "nobody",  # pages need no process with torch
    )
    with serve(create_app(settings, SilentDoorbell())) as url:
        yield url


@pytest.fixture
def stranger(browser: Browser, url: str) -> Iterator[Page]:
    """A page without a login; a failing script fails the test."""
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(_PATIENCE_MS)
    expect.set_options(timeout=_PATIENCE_MS)
    page = context.new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    yield page
    context.close()
    assert failures == []


@pytest.fixture
def page(stranger: Page, url: str) -> Page:
    """A page with a login."""
    assert stranger.context.request.post("/login", form={"token": TOKEN}).ok
    return stranger
