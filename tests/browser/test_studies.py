"""Studies on the page: created in the form, watched, read, exported."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text

from normlab.events import Failed
from service.jobs import leases
from service.results import metrics
from service.store.database import Database
from tests.browser import seeding
from tests.service.work import stored as stored_points

pytestmark = pytest.mark.browser


def test_a_study_is_previewed_and_made_in_the_form(page: Page, database: Database) -> None:
    page.goto("/studies/new")
    page.get_by_label("name", exact=True).fill("from the form")
    page.get_by_label("dataset", exact=True).select_option("digits")
    expect(page.locator("#preview")).to_contain_text("18 cells, 90 epochs")
    page.locator(".axis input[data-part=values]").nth(1).fill("32, many")
    expect(page.locator(".axis .wrong:visible")).to_contain_text("must be a whole number")
    expect(page.get_by_role("button", name="Run")).to_be_disabled()
    page.locator(".axis input[data-part=values]").nth(1).fill("32, 2")
    expect(page.locator("#preview")).to_contain_text("12 cells")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("heading", name="from the form")).to_be_visible()
    expect(page.locator("#counts")).to_contain_text("0 of 12 cells done, 12 queued")
    expect(page.get_by_text("No cell has reported this metric yet")).to_be_visible()


def test_the_page_says_why_no_cell_has_a_value(
    page: Page, database: Database, tmp_path: Path
) -> None:
    study = seeding.fill_study(database, tmp_path, done=17)
    with database.begin() as connection:
        connection.execute(text("update job set packed = 2, timing_valid = false"))
    page.goto(f"/studies/{study.id}?metric=device/memory_bytes")
    why = page.get_by_text("No cell has a value of this metric: ")
    expect(why).to_contain_text("17 packed")
    expect(why).to_contain_text("those of the whole pack")


def test_three_columns_of_means_fit_a_phone(page: Page, database: Database, tmp_path: Path) -> None:
    study = seeding.fill_study(database, tmp_path)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"/studies/{study.id}")
    expect(page.locator(".heat thead th")).to_have_count(3)
    wide, room = page.evaluate("(({scrollWidth, clientWidth}) => [scrollWidth, clientWidth])(heat)")
    assert wide <= room


def test_results_are_a_heat_map_curves_and_a_table_that_agree(
    page: Page, database: Database, tmp_path: Path
) -> None:
    study = seeding.fill_study(database, tmp_path)
    page.goto(f"/studies/{study.id}")
    heat = page.locator(".heat")
    expect(heat.locator("tbody tr")).to_have_count(3)
    expect(heat.locator("tbody td").nth(3)).to_contain_text("1 failed, 1 queued")  # the shortest
    means = heat.locator("tbody td").first.inner_text().split("\n")[0]
    expect(page.locator("#table tbody tr").first).to_contain_text(means)
    expect(page.locator("#lines canvas")).to_be_visible()
    expect(page.locator("#curves canvas")).to_be_visible()
    page.get_by_label("Columns").select_option("none")
    expect(heat.locator("thead th")).to_have_text(["mean"])
    expect(heat.locator("caption")).to_contain_text("where batch_size = 32")
    expect(heat.locator("tbody td").first).to_contain_text(means)
    expect(heat.locator("tbody td").first).to_contain_text("n = 2")
    expect(heat.locator("tbody td").nth(1)).to_contain_text("1 failed, 1 queued")
    page.get_by_label("Where batch_size is").select_option("2")
    expect(heat.locator("tbody td").nth(1)).to_contain_text("n = 2")
    page.get_by_label("Metric").fill("val/acuracy")
    page.get_by_label("Metric").press("Enter")
    page.get_by_label("Metric").blur()
    expect(page.locator("#question-wrong")).to_contain_text("val/accuracy")


def test_the_documented_study_with_linked_axes_shows_each_normalizer_with_its_seeds(
    page: Page, database: Database, tmp_path: Path
) -> None:
    study = seeding.fill_linked_study(database, tmp_path)
    page.goto(f"/studies/{study.id}")
    heat = page.locator(".heat")
    expect(heat.locator("tbody th")).to_have_text(["batch", "layer"])
    cells = heat.locator("tbody td")
    expect(cells).to_have_count(6)
    for i in (0, 1, 3, 4, 5):
        expect(cells.nth(i)).to_contain_text("n = 2")
    expect(cells.nth(2)).to_have_text("–")  # excluded
    rows = page.locator("#table tbody tr")
    expect(rows).to_have_count(5)
    means = [row["mean"] for row in table(page, study.id)["rows"]]
    assert len(set(means)) == 5
    for i, row in enumerate(table(page, study.id)["rows"]):
        expect(rows.nth(i)).to_contain_text(f"{row['mean_text']} ± {row['half_text']}")
        assert (row["n"], sorted(row["jobs"])) == (2, ["0", "1"])
    expect(page.locator("#curves canvas")).to_be_visible()
    expect(page.locator("#curves .u-legend")).to_contain_text("batch (n = 2)")
    expect(page.locator("#curves .u-legend")).to_contain_text("layer (n = 2)")
    expect(page.get_by_text("No job of these")).to_have_count(0)
    page.get_by_label("Columns").select_option("none")
    expect(cells).to_have_count(2)
    expect(cells.first).to_contain_text("n = 2")


def table(page: Page, study: str) -> Any:
    answer = page.request.get(f"/v1/studies/{study}/results")
    assert answer.status == 200, answer.text()
    return answer.json()


def test_a_learning_curve_is_a_mean_of_the_same_updates_of_every_seed_that_has_a_value(
    page: Page, database: Database, tmp_path: Path
) -> None:
    study = seeding.fill_linked_study(database, tmp_path, done=0)
    claimed = [seeding.claim(database) for _ in range(10)]
    for one in claimed[:2]:  # of one row: one seed has more updates than the other
        seeding.report(database, one, 3000 if one.spec.seed else 4000, tmp_path)
    seeding.report(database, claimed[2], 400, tmp_path)
    page.goto(f"/studies/{study.id}")
    (line,) = page.evaluate(
        """async (study) => {
            const { gather } = await import("/static/study_curves.js");
            const answer = await fetch(`/v1/studies/${study}/results?metric=train/loss`);
            const { rows } = await answer.json();
            const row = { ...rows[0], states: rows[0].states };
            return (await gather("train/loss", [{ label: "row", row }])).curves;
        }""",
        study.id,
    )
    series = [stored_points(database, str(one.job), "train/loss") for one in claimed[:2]]
    assert line["label"] == "row (n = 2)"
    assert line["steps"][-1] <= 3000
    edges = [*line["steps"], 3001]
    for i in (0, len(edges) // 2, len(edges) - 2):
        parts = [s.within(edges[i], edges[i + 1] - 1).values for s in series]
        assert line["values"][i] == pytest.approx(sum(p.mean() for p in parts) / 2)
        assert line["min"][i] == pytest.approx(min(p.min() for p in parts))
        assert line["max"][i] == pytest.approx(max(p.max() for p in parts))


def test_a_failed_seed_is_excluded_from_the_mean_of_a_curve(
    page: Page, database: Database, tmp_path: Path
) -> None:
    study = seeding.fill_linked_study(database, tmp_path, done=1)
    broken = seeding.claim(database)
    seeding.report(database, broken, 80, tmp_path)
    error = Failed(code="lost", failure_kind="lost", retryable=False, message="its worker is gone")
    leases.fail(database, broken, error)
    page.goto(f"/studies/{study.id}")
    expect(page.locator("#curves .u-legend")).to_contain_text("batch (n = 1)")
    expect(page.locator(".heat tbody td").first).to_contain_text("n = 1")
    expect(page.locator(".heat tbody td").first).to_contain_text("1 failed")


def test_waiting_cells_are_named_where_there_is_no_curve(
    page: Page, database: Database, tmp_path: Path
) -> None:
    study = seeding.fill_linked_study(database, tmp_path, done=2)
    page.goto(f"/studies/{study.id}")
    expect(page.locator("#curves canvas")).to_be_visible()
    page.locator("#slice").select_option(index=1)
    expect(page.locator("#curves")).to_contain_text("4 queued")
    expect(page.locator(".heat tbody td").nth(1)).to_contain_text("2 queued")
    expect(page.locator("body")).not_to_contain_text("failed")


def test_the_headline_of_a_curve_is_the_stored_last_value_at_every_width(
    page: Page, database: Database, tmp_path: Path
) -> None:
    job = seeding.submit(database)
    claimed = seeding.claim(database)
    seeding.report(database, claimed, 4000, tmp_path)
    stored = metrics.names(database, job)["train/loss"]
    assert stored.value is not None
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(f"/jobs/{job}")
        headline = page.locator('[data-metric="train/loss"] [data-latest]')
        expect(headline).to_have_text(f"{stored.value:.4g} at update 4000")
        page.locator('[data-metric="train/loss"] .u-over').hover()
        legend = page.locator('[data-metric="train/loss"] .u-legend')
        expect(legend).to_contain_text("from update")
        expect(legend).to_contain_text(re.compile(r"mean [\d.e-]+ of [\d.e-]+ to [\d.e-]+"))


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
