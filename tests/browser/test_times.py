"""Moments on the pages: in the reader's time zone, in one form."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import text
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
        local, exact = f"{at:%Y-%m-%d %H:%M}", f"{at:%Y-%m-%d %H:%M:%S}"
        for address, shown in (("/jobs", local), (f"/jobs/{job}", exact)):
            page.goto(address)
            time = page.locator("time").first
            expect(time).to_have_text(shown)
            expect(time).to_have_attribute("title", f"{exact} in Asia/Tokyo")
        expect(page.locator("#events td").first).to_have_text(re.compile(rf"^{local}:\d\d$"))
        page.goto("/runs?column=created_at")
        expect(page.locator("#runs tbody td a")).to_have_text(local)
    finally:
        context.close()


def test_a_job_says_how_long_it_ran_as_the_table_of_runs_does(
    page: Page, database: Database, tmp_path: Path
) -> None:
    seeding.beat(database)
    ended, running, waiting = (seeding.submit(database, seed=seed) for seed in range(3))
    seeding.finish(database, seeding.claim(database), tmp_path)
    seeding.claim(database)
    ran = text("update job set finished_at = started_at + interval '239.7 s' where id = :job")
    with database.begin() as connection:
        connection.execute(ran, {"job": ended})
    page.goto("/runs?column=duration&filter=state+%3D+succeeded")
    expect(page.locator("#runs tbody td a")).to_have_text("4 min 0 s")
    for job, told in ((ended, r"^4 min 0 s$"), (running, r"^\d+ s so far$"), (waiting, "^–$")):
        page.goto(f"/jobs/{job}")
        expect(page.locator("#duration")).to_have_text(re.compile(told))
