"""The job form lists metrics, hooks and diagnostics, those of plugins with their options."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from normlab.plugins.loading import load, use
from service.plugins import store
from service.store.database import Database
from tests.browser import seeding
from tests.normlab.plugins.authors import source

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("no_plugins")]
MINE = '''
import normlab
from pydantic import Field
from typing_extensions import Annotated


@normlab.metric("val/top_k")
def top_k(output, y, *, k: Annotated[int, Field(ge=1, le=9)] = 2):
    """The share of the samples whose class is among the likeliest."""
    return (output.topk(k, dim=1).indices == y[:, None]).any(1)


@normlab.hook("my_hook")
class Hook:
    """Nothing at all."""

    def at_end(self, moment): ...
'''


def test_metrics_and_hooks_are_chosen_in_the_form_with_their_options(
    page: Page, database: Database, tmp_path: Path
) -> None:
    page.goto("/jobs/new")
    expect(page.get_by_text("none; a plugin can add some")).to_be_visible()
    mine = source("mine.py", MINE)
    described = load(mine.written_below(tmp_path), mine.name)
    with database.begin() as connection:
        store.keep(connection, mine, described, owner=None, origin={})
    use([described])
    page.goto("/jobs/new")
    page.get_by_label("dataset", exact=True).select_option("digits")
    option = page.get_by_role("textbox", name="k", exact=True)
    expect(option).to_be_hidden()
    page.get_by_role("checkbox", name="val/top_k").check()
    page.get_by_role("checkbox", name="my_hook").check()
    option.fill("10")
    wrong = page.locator('[data-field="k"] > .wrong')
    expect(wrong).to_contain_text("less than or equal to 9")
    option.fill("3")
    expect(page.locator("#verdict")).to_contain_text("On cpu")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#state")).to_have_text("queued")
    spec = seeding.claim(database).spec.model_dump(mode="json")
    assert spec["metrics"] == [{"name": "val/top_k", "k": 3}]
    assert spec["hooks"] == ["my_hook"]
    expect(page.locator("#state")).to_have_text("running")
    page.goto(f"/jobs/new?from={page.url.rsplit('/', 1)[1]}")
    expect(page.get_by_role("checkbox", name="val/top_k")).to_be_checked()
    expect(option).to_have_value("3")
    expect(page.locator("#json")).to_contain_text('"k": 3')
