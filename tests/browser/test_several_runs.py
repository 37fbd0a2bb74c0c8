"""What happens to several runs at once, and to a page while the server is busy."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from api import pages
from service.store.database import Database
from service.store.patience import Patience
from tests.browser import seeding

pytestmark = pytest.mark.browser


def test_selected_runs_are_tagged_and_archived_together(page: Page, database: Database) -> None:
    for seed in range(4):
        seeding.submit(database, name=f"seed {seed}", seed=seed)
    answers = ["of the paper, -nothing"]
    page.on("dialog", lambda d: d.accept(answers.pop(0)) if d.type == "prompt" else d.accept())
    page.goto("/runs")
    expect(page.locator("#count")).to_have_text("4 runs")
    for name in ("seed 0", "seed 3"):
        page.get_by_role("checkbox", name=f"Select {name}").check()
    page.get_by_role("button", name="Tag…").click()
    expect(page.locator("#count")).to_have_text("4 runs")  # done: nothing is selected any more
    page.get_by_label("Filter").fill('tag = "of the paper"')
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#count")).to_have_text("2 runs")
    page.get_by_role("button", name="Select all").click()
    page.get_by_role("button", name="Archive").click()
    expect(page.locator("#count")).to_have_text("0 runs")
    page.get_by_label("Filter").fill('tag = "of the paper" and archived = true')
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#count")).to_have_text("2 runs")
    page.get_by_role("button", name="Select all").click()
    page.get_by_role("button", name="Take out of the archive").click()
    expect(page.locator("#count")).to_have_text("0 runs")
    page.get_by_label("Filter").fill('tag = "of the paper"')
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#count")).to_have_text("2 runs")


def test_a_page_that_a_busy_server_refuses_is_loaded_again_automatically(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    latest, refusals = pages.events.latest, [1]

    def slow(database: Database) -> int:
        if refusals and refusals.pop():
            raise Patience(5).over()
        return latest(database)

    monkeypatch.setattr(pages.events, "latest", slow)
    page.goto("/runs")
    expect(page.get_by_role("heading", name="The server is busy")).to_be_visible()
    expect(page.locator("#busy")).to_contain_text("loaded again automatically")
    expect(page.locator("#count")).to_have_text("0 runs")
