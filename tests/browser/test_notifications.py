"""Notifications of the browser: only for users who ask for them, and once, on any open page."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from service.store.database import Database
from tests.browser import seeding

pytestmark = pytest.mark.browser
# Headless Chromium shows no notifications, so the test records the page's calls
_STAND_IN = """
    window.Notification = class {
        constructor(title, options) { window.told(title, options.body); }
        static requestPermission() { return Promise.resolve("PERMISSION"); }
    };
"""


def stand_in(page: Page, permission: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    page.expose_function("told", lambda title, body: found.append((title, body)))
    page.add_init_script(_STAND_IN.replace("PERMISSION", permission))
    return found


def wait_for_nothing_watched(page: Page, found: list[tuple[str, str]]) -> None:
    page.wait_for_function("() => localStorage.getItem('normlab-watched') === '[]'")
    while not found:  # the page's message is on its way
        page.wait_for_timeout(20)


def test_a_person_who_wants_it_is_told_once_that_a_job_has_ended_on_whatever_page_is_open(
    page: Page, database: Database, tmp_path: Path
) -> None:
    found = stand_in(page, "granted")
    mine = seeding.submit(database, name="<b>mine</b>")
    other = seeding.submit(database, name="other")
    page.goto(f"/jobs/{mine}")
    button = page.get_by_role("button", name="Tell me when it ends")
    button.click()
    expect(page.get_by_role("button", name="Will tell me when it ends")).to_be_visible()
    page.goto(f"/jobs/{other}")
    expect(button).to_have_attribute("aria-pressed", "false")
    page.goto("/devices")  # before the end, when the page of a job reloads
    for _ in range(2):
        seeding.finish(database, seeding.claim(database), tmp_path)
    wait_for_nothing_watched(page, found)
    page.goto(f"/jobs/{mine}")
    expect(page.locator("#state")).to_contain_text("succeeded")
    assert found == [("<b>mine</b>: succeeded", "")]
    expect(button).to_have_count(0)


def test_a_browser_that_does_not_allow_it_is_told_where_to_change_that(
    page: Page, database: Database
) -> None:
    found = stand_in(page, "denied")
    page.goto(f"/jobs/{seeding.submit(database)}")
    page.get_by_role("button", name="Tell me when it ends").click()
    expect(page.locator("#failure")).to_contain_text("does not allow notifications")
    expect(page.get_by_role("button", name="Tell me when it ends")).to_be_visible()
    assert found == []


def test_a_study_is_told_when_its_last_cell_has_ended_although_one_failed(
    page: Page, database: Database, tmp_path: Path
) -> None:
    found = stand_in(page, "granted")
    study = seeding.fill_study(database, tmp_path)  # one has failed, one is queued
    page.goto(f"/studies/{study.id}")
    page.get_by_role("button", name="Tell me when it ends").click()
    expect(page.get_by_role("button", name="Will tell me when it ends")).to_be_visible()
    seeding.finish(database, seeding.claim(database), tmp_path)
    page.goto("/devices")
    wait_for_nothing_watched(page, found)
    assert found == [("small batches: ended", "17 of 18 cells succeeded")]
