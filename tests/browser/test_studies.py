"""Studies on the page: made in the form, watched, read, exported."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from service.database import Database
from tests.browser import seeding

pytestmark = pytest.mark.browser


def test_a_study_is_previewed_and_made_in_the_form(page: Page, database: Database) -> None:
    page.goto("/studies/new")
    page.get_by_label("name", exact=True).fill("from the form")
    page.get_by_label("dataset", exact=True).select_option("digits")
    expect(page.locator("#preview")).to_contain_text("18 cells, 90 epochs")
    page.locator(".axis input[data-part=values]").nth(1).fill("32, many")
    expect(page.locator(".axis .wrong:visible")).to_contain_text("integer")
    expect(page.get_by_role("button", name="Run")).to_be_disabled()
    page.locator(".axis input[data-part=values]").nth(1).fill("32, 2")
    expect(page.locator("#preview")).to_contain_text("12 cells")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("heading", name="from the form")).to_be_visible()
    expect(page.locator("#counts")).to_contain_text("0 of 12 cells done, 12 queued")
    expect(page.get_by_text("No cell has reported this metric yet")).to_be_visible()


def test_results_are_a_heat_map_curves_and_a_table_that_agree(
    page: Page, database: Database, tmp_path: Path
) -> None:
    study = seeding.fill_study(database, tmp_path)
    page.goto(f"/studies/{study.id}")
    heat = page.locator(".heat")
    expect(heat.locator("tbody tr")).to_have_count(3)
    expect(heat.locator("tbody td").last).to_contain_text("2 without a value")
    means = heat.locator("tbody td").first.inner_text().split("\n")[0]
    expect(page.locator("#table tbody tr").first).to_contain_text(means)
    expect(page.locator("#lines canvas")).to_be_visible()
    expect(page.locator("#curves canvas")).to_be_visible()
    page.get_by_label("Columns").select_option("none")
    expect(heat.locator("thead th")).to_have_text(["(all)"])
    page.get_by_label("Metric").fill("val/acuracy")
    page.get_by_label("Metric").press("Enter")
    page.get_by_label("Metric").blur()
    expect(page.locator("#question-wrong")).to_contain_text("val/accuracy")


def test_results_are_exported(page: Page, database: Database, tmp_path: Path) -> None:
    study = seeding.fill_study(database, tmp_path)
    page.goto(f"/studies/{study.id}")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == "results.csv"
    path = tmp_path / "results.csv"
    download.value.save_as(path)
    with path.open() as file:
        assert len(list(csv.DictReader(file))) == 18


def test_a_study_is_paused_resumed_and_completed(
    page: Page, database: Database, tmp_path: Path
) -> None:
    study = seeding.fill_study(database, tmp_path)
    page.goto(f"/studies/{study.id}")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#counts")).to_contain_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#counts")).to_contain_text("active: 16 of 18")
    page.get_by_role("button", name="Complete").click()
    expect(page.locator("#counts")).to_contain_text("2 queued")
    expect(page.get_by_role("button", name="Complete")).to_have_count(0)
    page.goto("/studies")
    expect(page.get_by_role("link", name="small batches")).to_be_visible()
