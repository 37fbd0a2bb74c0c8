"""Moments on the pages: in the reader's time zone, in one form."""

from __future__ import annotations

import re
from datetime import datetime

import pytest
from playwright.sync_api import Browser, expect
from zoneinfo import ZoneInfo

from service.jobs import reading
from service.store.database import Database
from tests.browser import seeding
from tests.browser.conftest import TOKEN

pytestmark = pytest.mark.browser


def test_moments_are_in_the_readers_time_zone_in_one_form_on_every_page(
    browser: Browser, url: str, database: Database
) -> None:
    job = seeding.submit(database, name="when")
    at: datetime = reading.get(database, job).created_at.astimezone(ZoneInfo("Asia/Tokyo"))
    context = browser.new_context(base_url=url, timezone_id="Asia/Tokyo")
    try:
        assert context.request.post("/login", form={"token": TOKEN}).ok
        page = context.new_page()
        local = f"{at:%Y-%m-%d %H:%M}"
        for address in ("/jobs", f"/jobs/{job}"):
            page.goto(address)
            time = page.locator("time").first
            expect(time).to_have_text(local)
            expect(time).to_have_attribute("title", re.compile("Asia/Tokyo"))
        expect(page.locator("#events td").first).to_have_text(re.compile(rf"^{local}:\d\d$"))
        page.goto("/runs?column=created_at")
        expect(page.locator("#runs tbody td a")).to_have_text(local)
    finally:
        context.close()
