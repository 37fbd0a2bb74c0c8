"""The pages in Chromium, below a path of a proxy that speaks HTTPS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from api.main import create_app
from normlab.events import Finished
from service.jobs import leases
from service.jobs.doorbell import SilentDoorbell
from service.settings import Settings
from service.store.database import Database
from tests.api.reverse_proxy import proxied
from tests.api.serving import serve
from tests.browser.conftest import TOKEN
from tests.service.work import claim, submit

pytestmark = pytest.mark.browser
ROOT = "/user/ada/lab"


@pytest.fixture
def proxy(database_url: str, tmp_path: Path) -> Iterator[str]:
    settings = Settings(
        database_url=database_url,
        data_dir=tmp_path,
        token=TOKEN,
        root_path=ROOT,
        trusted_proxies="127.0.0.1",
        inspector_socket=tmp_path / "nobody",
    )
    app = create_app(settings, SilentDoorbell())
    with serve(app) as url, proxied(url, ROOT, tls=True) as address:
        yield address


@pytest.fixture
def visitor(browser: Browser, proxy: str) -> Iterator[Page]:
    context = browser.new_context(ignore_https_errors=True)
    context.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith(proxy) else None)
    yield page
    context.close()
    assert wrong == []


def test_a_person_works_below_the_root_path(visitor: Page, proxy: str, database: Database) -> None:
    job = submit(database, name="a job")
    visitor.goto(f"{proxy}/")
    visitor.get_by_label("Token").fill(TOKEN)
    visitor.get_by_role("button", name="Log in").click()
    (cookie,) = visitor.context.cookies()
    assert (cookie["path"], cookie["secure"]) == (ROOT, True)
    visitor.get_by_role("link", name="a job").click()
    expect(visitor).to_have_url(f"{proxy}/jobs/{job.id}")
    leases.finish(database, claim(database), Finished(step=1, summary={}))
    expect(visitor.locator(".state.succeeded").first).to_be_visible()  # by the stream of events
    for name in ("Studies", "Devices", "Normalizers", "Jobs"):
        visitor.get_by_role("link", name=name, exact=True).click()
        expect(visitor).to_have_url(f"{proxy}/{name.lower()}")
    visitor.get_by_role("button", name="Log out").click()
    expect(visitor).to_have_url(f"{proxy}/login")
