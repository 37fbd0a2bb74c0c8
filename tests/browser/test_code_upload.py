"""The forms of a job and a study upload a user's own code, if the stack accepts it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from api.main import create_app
from service.jobs.doorbell import SilentDoorbell
from service.settings import Settings
from tests.api.serving import serve
from tests.browser.conftest import TOKEN

pytestmark = pytest.mark.browser
_DIGEST = "ab" * 32
_ENTRIES = [{"part": "normalizer", "name": "mine"}, {"part": "metric", "name": "top3"}]


@pytest.fixture
def allowed() -> str:
    return "*"


@pytest.fixture
def url(database_url: str, tmp_path: Path, allowed: str) -> Iterator[str]:
    settings = Settings(
        database_url=database_url,
        data_dir=tmp_path,
        token=TOKEN,
        inspector_socket=tmp_path / "nobody",
        allow_code=allowed,
    )
    with serve(create_app(settings, SilentDoorbell())) as url:
        yield url


def taking(page: Page) -> list[Any]:
    """Answer for the process that describes code, and keep what was uploaded."""
    sent: list[Any] = []

    def answer(route: Route) -> None:
        sent.append(route.request.post_data_json)
        record = {"digest": _DIGEST, "name": sent[-1]["name"], "entries": _ENTRIES}
        route.fulfill(status=201, json=record)

    page.route("**/v1/plugins*", answer)
    return sent


def choose(page: Page) -> None:
    files = [
        {"name": "mine.py", "mimeType": "text/x-python", "buffer": b"import parts\n"},
        {"name": "parts.py", "mimeType": "text/x-python", "buffer": b"K = 3\n"},
    ]
    page.get_by_label("Upload Python files").set_input_files(files)


@pytest.mark.parametrize("form", ["/jobs/new", "/studies/new"])
def test_uploaded_code_is_named_in_the_specification_and_its_names_are_in_the_menus(
    page: Page, form: str
) -> None:
    sent = taking(page)
    page.goto(form)
    choose(page)
    expect(page.locator("#uploaded")).to_have_text("mine.py adds normalizer mine, metric top3.")
    assert sent == [
        {"name": "mine.py", "files": {"mine.py": "import parts\n", "parts.py": "K = 3\n"}}
    ]
    page.get_by_text("As JSON").click()
    expect(page.locator("#json")).to_contain_text(_DIGEST)
    page.locator('[data-path="normalizer.kind"]').select_option("mine")
    if form == "/studies/new":  # where the normalizers of the axis count
        page.get_by_label("Values").first.fill("batch, mine")
    expect(page.locator("#json")).to_contain_text('"mine"')
    choose(page)
    expect(page.locator("#uploaded")).to_contain_text("adds")
    assert page.locator('[data-path="code"]').input_value() == _DIGEST


def test_what_is_wrong_with_code_is_said_beside_it(page: Page) -> None:
    problem = {"status": 422, "detail": "mine.py: no <b>name</b> is declared", "errors": []}
    page.route("**/v1/plugins*", lambda route: route.fulfill(status=422, json=problem))
    page.goto("/jobs/new")
    choose(page)
    expect(page.locator("#uploaded")).to_have_text("mine.py: no <b>name</b> is declared")


@pytest.mark.parametrize("allowed", ["somebody-else"])
def test_a_stack_that_takes_no_code_from_its_reader_offers_no_upload(page: Page) -> None:
    for form in ("/jobs/new", "/studies/new"):
        page.goto(form)
        expect(page.get_by_label("Upload Python files")).to_have_count(0)
