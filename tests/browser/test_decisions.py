"""The page of a study that decides: verdicts, and intervals that narrow while the page is open."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from service.store.database import Database
from tests.service.studies.test_decider import better, create, decider, work

pytestmark = pytest.mark.browser


def test_intervals_narrow_on_the_page_until_the_verdict(page: Page, database: Database) -> None:
    study = create(database, {"at_most": 64}, seeds=6)
    work(database, better(0.03))
    decider(database).round()
    page.goto(f"/studies/{study.id}")
    decision = page.locator("#decision")
    expect(decision).to_contain_text("1 undecided")
    expect(decision.locator("circle")).to_have_count(1)
    for _ in range(30):
        decider(database).round()
        work(database, better(0.03))
    expect(decision).to_contain_text("1 shows")  # automatically, without a reload
    expect(decision).to_contain_text("layer is better than batch")
    bars = decision.locator("svg line[stroke-width='3']")
    heights = [
        float(bar.get_attribute("y2") or 0) - float(bar.get_attribute("y1") or 0)
        for bar in bars.all()
    ]
    assert len(heights) > 2
    assert heights[-1] < heights[0]
