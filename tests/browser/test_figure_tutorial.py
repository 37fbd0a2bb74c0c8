"""The tutorial from nothing to a figure, clicked as it is written."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from service.store.database import Database
from tests.browser.conftest import TOKEN
from tests.service.studies.test_differences import finish

pytestmark = pytest.mark.browser
_PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "figure.md"


class Reader:
    """Uses only what the tutorial names, and in its order."""

    def __init__(self, page: Page) -> None:
        self.page = page
        steps = _PAGE.read_text().partition("\n1. ")[2].partition("\n## In a notebook")[0]
        self.names = re.findall(r"\*\*(.+?)\*\*", steps)

    def next(self, name: str) -> str:
        assert self.names.pop(0) == name
        return name

    def fill(self, name: str, value: str) -> None:
        self.page.get_by_label(self.next(name), exact=True).fill(value)

    def choose(self, name: str, value: str) -> None:
        field = self.page.get_by_label(self.next(name), exact=True)
        field.select_option(label=value)

    def press(self, role: str, name: str) -> None:
        self.page.get_by_role(role, name=self.next(name), exact=True).click()


def is_rounded(text: str, value: float) -> bool:
    unit = 10.0 ** -len(text.partition(".")[2])
    return abs(float(text) - value) <= 0.5001 * unit


def test_the_tutorial_ends_with_a_figure_and_its_numbers(
    stranger: Page, database: Database
) -> None:
    page, reader = stranger, Reader(stranger)
    page.goto("/")
    reader.fill("Token", TOKEN)
    reader.press("button", "Log in")
    reader.press("link", "Studies")
    reader.press("link", "New study")
    reader.fill("name", "small batches")
    reader.fill("seeds", "3")
    reader.choose("dataset", "digits")
    expect(page.locator("#preview")).to_contain_text("27 cells")
    reader.press("button", "Run")
    expect(page.locator("#counts")).to_contain_text("0 of 27 cells done")
    finish(database)
    expect(page.locator("#counts")).to_contain_text("27 of 27 cells done")
    reader.choose("Compare with", "batch")
    expect(page.locator("#heat tbody td").first).to_contain_text("the reference")
    reader.choose("Around a mean", "smallest to largest")
    expect(page.locator("#heat tbody td").first).to_contain_text(" to ")
    wide, room = page.evaluate("[heat.scrollWidth, heat.clientWidth]")
    assert wide <= room
    cells = [text.split("\n") for text in page.locator("#heat tbody td").all_inner_texts()]
    with page.expect_download() as download:
        reader.press("link", "All, with its numbers (ZIP)")
    with zipfile.ZipFile(download.value.path()) as archive:
        means = list(csv.DictReader(io.StringIO(archive.read("means.csv").decode())))
        table = archive.read("table.tex").decode()
        assert archive.read("figure.pdf").startswith(b"%PDF")
    for (text, around, *_), line in zip(cells, means, strict=True):
        assert is_rounded(text, float(line["val/accuracy"]))
        low, high = around.partition(",")[0].split(" to ")
        assert is_rounded(low, float(line["smallest"]))
        assert is_rounded(high, float(line["largest"]))
        assert f"{text} ({low} to {high})" in table
    reader.press("link", "Copy to a new study")
    reader.fill("seeds", "8")
    expect(page.locator("#preview")).to_contain_text("27 cells already computed")
    assert reader.names == []
