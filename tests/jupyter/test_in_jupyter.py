"""The notebooks of the documentation in a kernel of Jupyter, and what a person sees of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nbclient", reason="Jupyter is not installed; see `make test-jupyter`")

import nbformat
from playwright.sync_api import Page, expect

import normlab
from normlab.records import JobRecord
from normlab.records.as_html import jobs_table
from normlab.records.findings import LastValue
from tests.browser.conftest import browser
from tests.jupyter.executing import as_html, executed

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200)]
SIZES = {390: 844, 1280: 800, 2560: 1440}
__all__ = ["browser"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("jupyter")
    with normlab.stack(folder, slots=2):
        yield folder


@pytest.fixture(scope="module")
def notebook(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("paper")
    return executed("from-nothing-to-a-figure.ipynb", folder, data_dir), folder


def outputs_of(cell: Any) -> list[tuple[str, list[str]]]:
    return [(one.output_type, sorted(one.get("data", {}))) for one in cell.outputs]


def test_jupyter_shows_tables_progress_in_place_and_the_figure(notebook: Any) -> None:
    cells = [cell for cell in notebook[0].cells if cell.cell_type == "code"]
    html = ["text/html", "text/plain"]
    assert outputs_of(cells[1]) == [("execute_result", html)]
    progress, result = outputs_of(cells[2])  # one output, however often it was renewed
    assert (progress, result) == (("display_data", ["text/plain"]), ("execute_result", html))
    ended = cells[2].outputs[0]["data"]["text/plain"]
    assert ended == "8 runs have ended: 8 succeeded"  # one line, and the table once below
    assert cells[2].outputs[1]["data"]["text/html"].count("succeeded") == 8
    assert any("image/png" in kinds for _, kinds in outputs_of(cells[5]))
    assert (notebook[1] / "figure.pdf").read_bytes().startswith(b"%PDF")
    assert "toprule" in (notebook[1] / "figure.table.tex").read_text()


def test_a_run_is_one_line_on_a_telephone_and_its_columns_scroll(
    browser: Any, tmp_path: Path
) -> None:
    last = LastValue(step=8, value=0.5, min=0.5, max=0.5)
    job = JobRecord.model_construct(
        id="5f0c9a41", name="a name of several words", state="succeeded", normalizer="group",
        proxy=True, batch_size=8, seed=0, step=8, steps=8,
        last={"val/accuracy": last, "val/loss": last, "train/loss": last},
    )  # fmt: skip
    shown = nbformat.v4.new_output("display_data", {"text/html": jobs_table([job] * 2, 2)})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[shown])])
    (tmp_path / "table.html").write_text(as_html(notebook))
    page: Page = browser.new_page(viewport={"width": 390, "height": SIZES[390]})
    page.goto(f"file://{tmp_path}/table.html")
    in_ems = "row => row.offsetHeight / parseFloat(getComputedStyle(row).fontSize)"
    heights = page.locator("tr").evaluate_all(f"rows => rows.map({in_ems})")
    assert max(heights) < 3  # one line and its padding; two lines need more
    table = page.locator("div:has(> table)")
    assert table.evaluate("box => box.scrollWidth > box.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.close()


def test_a_person_reads_the_notebook_from_top_to_bottom_at_every_size(
    notebook: Any, browser: Any, tmp_path: Path
) -> None:
    (tmp_path / "notebook.html").write_text(as_html(notebook[0]))
    page: Page = browser.new_page()
    page.goto(f"file://{tmp_path}/notebook.html")
    expect(page.get_by_role("heading", name="From nothing to a figure")).to_be_visible()
    expect(page.get_by_text("8 runs").first).to_be_visible()
    for width, height in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        figure = page.locator("img").first
        figure.scroll_into_view_if_needed()
        expect(figure).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.locator("progress").count() >= 8
    page.close()
