"""What the page of a job says before and while it runs, and of what printed nothing."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from normlab.events import Finished
from service.jobs import leases
from service.store.database import Database
from tests.browser import seeding

pytestmark = pytest.mark.browser


def test_a_waiting_job_tells_its_place_and_what_would_change_it(
    page: Page, database: Database
) -> None:
    seeding.submit(database, device="cuda")
    job = seeding.submit(database, device="cuda")
    page.goto(f"/jobs/{job}")
    outlook = page.locator("#outlook")
    expect(outlook).to_contain_text("1 before it, at most")
    expect(outlook).to_contain_text("start a worker for cuda: python -m workers --device cuda")


def test_the_log_of_a_job_that_printed_nothing_tells_what_happened(
    page: Page, database: Database
) -> None:
    job = seeding.submit(database)
    leases.finish(database, seeding.claim(database), Finished(step=400, summary={}))
    page.goto(f"/jobs/{job}")
    expect(page.locator("#log")).to_contain_text("The training printed nothing. What happened:")
    expect(page.locator("#log")).to_contain_text("succeeded")
    expect(page.locator("#outlook")).to_have_count(0)
