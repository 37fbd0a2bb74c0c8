"""The page of a job before, during and after its run, including its empty parts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text

from normlab.events import Finished, Started
from service.jobs import changes, leases
from service.results import reports
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
    expect(outlook).to_contain_text("a worker for cuda starts: python -m workers --device cuda")


def test_the_log_of_a_job_that_printed_nothing_tells_what_happened(
    page: Page, database: Database
) -> None:
    job = seeding.submit(database)
    leases.finish(database, seeding.claim(database), Finished(step=400, summary={}))
    page.goto(f"/jobs/{job}")
    expect(page.locator("#log")).to_contain_text(
        "The training printed nothing. This is what happened:"
    )
    expect(page.locator("#log")).to_contain_text("succeeded")
    expect(page.locator("#outlook")).to_have_count(0)


def test_a_running_job_shows_what_it_takes_of_its_machine_with_units(
    page: Page, database: Database, tmp_path: Path
) -> None:
    job = seeding.submit(database)
    claim = seeding.claim(database)
    page.goto(f"/jobs/{job}")
    machine = page.get_by_role("region", name="Machine")
    expect(page.locator("#no-curves")).to_be_visible()
    expect(machine).to_be_hidden()
    seeding.report(database, claim, 200, tmp_path)
    cards = machine.locator(".chart-card")
    expect(cards).to_have_count(2)  # and no numbers of a GPU, because this job has none
    expect(cards.nth(0)).to_contain_text("device/cpu_percent")
    expect(cards.nth(0)).to_contain_text(re.compile(r"1\d\d % at update 200"))
    expect(cards.nth(1)).to_contain_text("562 MiB at update 200")
    expect(machine).not_to_contain_text("pack")
    packed = Started(step=0, environment={"runtime": "packed", "packed": 3})
    assert reports.keep_all(database, claim, [packed])
    page.reload()
    expect(machine).to_contain_text("each shows the resources of the whole process")


def test_a_job_of_a_pack_is_called_packed_and_not_emulated(
    page: Page, database: Database, tmp_path: Path
) -> None:
    job = seeding.submit(database, name="one of four")
    seeding.finish(database, seeding.claim(database), tmp_path)
    with database.begin() as connection:
        connection.execute(text("update job set packed = 4, timing_valid = false"))
    page.goto("/jobs")
    expect(page.get_by_role("row", name="one of four")).to_contain_text("cpu packed")
    page.goto(f"/jobs/{job}")
    expect(page.get_by_text("its times are those of the whole pack")).to_be_visible()
    expect(page.get_by_text("emulat")).to_have_count(0)


def test_a_job_that_ended_without_a_metric_does_not_promise_curves(
    page: Page, database: Database
) -> None:
    job = seeding.submit(database)
    changes.cancel(database, job)
    page.goto(f"/jobs/{job}")
    expect(page.get_by_text("This job reported no metric before it ended.")).to_be_visible()
    expect(page.locator("#artifacts")).to_contain_text("It has no files.")
