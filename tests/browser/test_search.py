"""The page of a search: history, best trial, importance, and all trials at once."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from service.store.database import Database
from service.studies.search_history import history
from tests.browser.test_access import AXE
from tests.service.studies.test_search_history import SPACE, run
from tests.service.studies.test_searches import create

pytestmark = pytest.mark.browser


def test_a_search_shows_its_history_its_best_trial_and_which_parameters_matter(
    page: Page, database: Database
) -> None:
    study = create(database, space=SPACE, trials=12, parallel=12)
    run(database, lambda optimizer: 1 - optimizer.lr)
    found = history(database, study.id)
    assert found.best is not None
    page.goto(f"/studies/{study.id}")
    best = page.locator("#best-trial")
    expect(best).to_contain_text(f"Trial {found.best}, val/accuracy")
    expect(best.get_by_role("link")).to_have_attribute(
        "href", f"/jobs/{found.trials[found.best].job}"
    )
    expect(page.locator("#history canvas")).to_be_visible()
    shares = page.locator("#importance tr")
    expect(shares).to_have_count(2)
    expect(shares.first).to_contain_text("optimizer.lr")
    expect(page.locator("#trials polyline")).to_have_count(12)
    expect(page.locator("#table tbody tr")).to_have_count(12)
    rates = page.locator("#table tbody td:first-child").all_inner_texts()
    assert len(set(rates)) == 12
    assert max(map(len, rates)) <= 9  # such as 6.123e-4: the digits that tell them apart
    expect(page.locator("#results figure:visible")).to_have_count(0)  # a map with one trial per row
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("() => document.documentElement.scrollWidth <= 390")
    page.evaluate(AXE.read_text())
    wrong = page.evaluate("axe.run('main').then(r => r.violations.map(v => v.id))")
    assert wrong == []
