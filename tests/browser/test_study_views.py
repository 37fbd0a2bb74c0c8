"""The views of a study: panels, a reference, the spread around a mean, and matching files."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from normlab.presentation import spreads
from normlab.records import ResultTable
from service.store.database import Database
from tests.browser import seeding
from tests.browser.test_access import AXE
from tests.service.finishing import made
from tests.service.studies.test_differences import GRID, finish

pytestmark = pytest.mark.browser

THREE: dict[str, Any] = {
    **GRID,
    "axes": {**GRID["axes"], "optimizer.lr": [0.1, 0.3]},
    "seeds": 3,
}


@pytest.fixture
def study(page: Page, database: Database) -> str:
    """Three kinds, two batches and two rates, with three seeds each; its page is open."""
    found = made(database, THREE)
    finish(database)
    page.goto(f"/studies/{found}")
    expect(page.locator("#lines canvas")).to_be_visible()
    return found


def test_every_factor_is_a_row_a_column_a_panel_or_has_one_chosen_value(
    page: Page, study: str
) -> None:
    heats = page.locator("#heat table")
    expect(heats).to_have_count(1)
    expect(page.get_by_label("Where optimizer.lr is")).to_have_value("0.1")
    page.get_by_label("Panels").select_option("optimizer.lr")
    expect(heats).to_have_count(2)
    expect(heats.nth(1).locator("caption")).to_contain_text("where optimizer.lr = 0.3")
    expect(page.locator("#lines canvas")).to_have_count(2)
    expect(page.get_by_label("Where optimizer.lr is")).to_have_count(0)
    for heat in heats.all():
        for cell in heat.locator("tbody td").all():
            expect(cell).to_contain_text("n = 3")  # the seeds, and nothing pooled with them
    page.get_by_label("Columns").select_option("none")
    expect(page.get_by_label("Where batch_size is")).to_have_value("32")


def test_a_link_shows_the_same_view_of_a_study_again(page: Page, study: str) -> None:
    page.get_by_label("From each job").select_option("best")
    page.get_by_label("Around a mean").select_option("sd")
    page.get_by_label("Panels").select_option("batch_size")
    expect(page.get_by_label("Columns")).to_have_value("")  # each factor is in one place
    page.get_by_label("Where optimizer.lr is").select_option("0.3")
    page.get_by_label("Compare with").select_option(label="batch")
    caption = page.locator("#heat caption").first
    expect(caption).to_contain_text("where batch_size = 32; optimizer.lr = 0.3")
    page.reload()
    expect(caption).to_contain_text("val/accuracy, best where batch_size = 32; optimizer.lr = 0.3")
    expect(page.locator("#heat tbody td").first).to_contain_text("the reference")
    expect(page.get_by_label("Around a mean")).to_have_value("sd")
    page.get_by_label("Rows").select_option("batch_size")
    expect(page.get_by_label("Panels")).to_have_value("")
    page.get_by_label("Columns").select_option("batch_size")
    expect(page.get_by_label("Rows")).to_have_value("normalizer")


def test_a_link_to_a_metric_that_is_gone_says_so(page: Page, study: str) -> None:
    page.goto(f"/studies/{study}?metric=val/gone")
    expect(page.locator("#question-wrong")).to_contain_text("no job of this study reported")
    expect(page.get_by_text("Choose another one")).to_be_visible()
    expect(page.get_by_text("Loading…")).to_have_count(0)
    page.get_by_label("Metric", exact=True).fill("val/accuracy")
    page.get_by_label("Metric", exact=True).press("Enter")
    expect(page.locator("#lines canvas")).to_be_visible()


def test_what_a_link_asks_of_a_study_in_vain_is_named_and_the_rest_is_shown(
    page: Page, study: str
) -> None:
    reference = quote('["normalizer","gone"]')
    asked = f"rows=batch_size&panels=lost&reference={reference}&where=optimizer.lr%3D7"
    page.goto(f"/studies/{study}?{asked}")
    lost = page.locator("#link-lost")
    expect(lost).to_have_text(
        "This study does not have what the link asks for: panels = lost; comparing with "
        "normalizer = gone; optimizer.lr = 7. The rest is as the link says."
    )
    expect(page.get_by_label("Rows")).to_have_value("batch_size")
    expect(page.locator("#lines canvas")).to_be_visible()
    page.get_by_label("Rows").select_option("normalizer")
    expect(lost).to_be_hidden()


def test_cells_show_their_significance_against_a_chosen_reference(page: Page, study: str) -> None:
    page.get_by_label("Compare with").select_option(label="batch")
    cells = page.locator("#heat tbody td")
    expect(cells.first).to_contain_text("the reference")
    asked = {"axis": "normalizer", "against": "batch", "where": "optimizer.lr=0.1"}
    answer = page.request.get(f"/v1/studies/{study}/differences", params=asked)
    rows = answer.json()["rows"]
    assert len(rows) == 4
    assert len({row["p_adjusted"] < 0.05 for row in rows}) == 2  # some differ, and some do not
    for i, row in enumerate(rows):
        cell = cells.nth(2 + i)
        expect(cell).to_contain_text(f"+{row['mean']:.2g}".rstrip("0"))
        expect(cell.locator("strong")).to_have_count(int(row["p_adjusted"] < 0.05))
    expect(page.locator("#heat-legend")).to_contain_text("adjusted after Holm")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run('#results').then(r => r.violations.map(v => v.id))")
    assert found == []


def test_what_is_around_a_mean_is_chosen_and_two_seeds_do_not_flatten_the_axis(
    page: Page, database: Database, tmp_path: Path
) -> None:
    study = seeding.fill_study(database, tmp_path)
    page.goto(f"/studies/{study.id}")
    expect(page.locator("#lines-note")).to_contain_text("intervals of two seeds are cut")
    first = page.locator("#heat tbody td").first
    for choice, words in (("sd", "sd 0."), ("range", " to 0."), ("none", "n = 2"), ("t", "± ")):
        page.get_by_label("Around a mean").select_option(choice)
        expect(first).to_contain_text(words)
    answer = page.request.get(f"/v1/studies/{study.id}/results").body()
    rows = ResultTable.model_validate_json(answer).rows
    for spread in spreads.SPREADS:
        found = page.evaluate(
            """async ([study, spread]) => {
                const { ends, reach } = await import("/static/study_spread.js");
                const { rows } = await (await fetch(`/v1/studies/${study}/results`)).json();
                return [reach(rows, spread), rows.map((row) => ends(row, spread))];
            }""",
            [study.id, spread],
        )
        assert found[0] == pytest.approx(spreads.reach(rows, spread))
        for mine, theirs in zip(found[1], rows, strict=True):
            expected = spreads.ends(theirs, spread)
            assert (mine is None) == (expected is None)
            assert mine is None or mine == pytest.approx(expected)


def test_the_figure_for_a_paper_is_the_one_that_is_shown(page: Page, study: str) -> None:
    page.get_by_label("Panels").select_option("optimizer.lr")
    page.get_by_label("Compare with").select_option(label="batch")
    page.get_by_label("Around a mean").select_option("range")
    expect(page.locator("#heat tbody td").first).to_contain_text("the reference")
    with page.expect_download() as download:
        page.get_by_role("link", name="All, with its numbers (ZIP)").click()
    assert download.value.suggested_filename == "figure.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        means = list(csv.DictReader(io.StringIO(archive.read("means.csv").decode())))
        picture = archive.read("figure.svg").decode()
    assert len(means) == page.locator("#heat tbody td").count() == 12
    for words in ("optimizer.lr = 0.3", "smallest to largest seed", "differs from batch"):
        assert words in picture
    with page.expect_download() as download:
        page.get_by_role("link", name="LaTeX").click()
    assert download.value.suggested_filename == "results.tex"
    assert "optimizer.lr" in download.value.path().read_text()
