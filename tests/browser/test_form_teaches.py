"""The job form in Chromium: words instead of null, recipes, YAML both ways, what was changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from service.store.database import Database
from tests.browser import seeding

pytestmark = pytest.mark.browser


def test_a_copied_job_says_what_was_changed_and_goes_through_yaml_and_back(
    page: Page, database: Database, tmp_path: Path
) -> None:
    made = seeding.submit(database, name="<i>first</i>", batch_size=4)
    page.goto(f"/jobs/new?from={made}")
    expect(page.locator("#changes h3")).to_have_text("Changed from <i>first</i>")
    expect(page.locator("#changed")).to_contain_text("nothing yet")
    page.get_by_role("textbox", name="batch size").fill("16")
    expect(page.locator("#changed")).to_have_text("batch_size: 4 → 16")
    page.get_by_text("As YAML").click()
    text = page.get_by_label("The job in YAML")
    expect(text).not_to_have_value("")
    assert "batch_size: 16\n" in text.input_value()
    text.fill("normalizer: {kind: group, groups: 2}\nbatch_size: 8\nepochs: many\n")
    page.get_by_role("button", name="Fill in the form from this").click()
    expect(page.locator("#yaml-wrong")).to_contain_text("epochs:")
    text.fill("normalizer: {kind: group, groups: 2}\nbatch_size: 8\ndataset: {name: digits}\n")
    page.get_by_role("button", name="Fill in the form from this").click()
    expect(page.get_by_label("Kind")).to_have_value("group")
    expect(page.get_by_role("textbox", name="batch size")).to_have_value("8")
    expect(page.get_by_label("name", exact=True)).to_have_value("")


def test_a_form_starts_from_a_recipe_and_its_hints_have_no_null(page: Page) -> None:
    page.goto("/jobs/new")
    assert page.locator("[placeholder=null]").count() == 0
    hint = page.locator('[data-field="batch_size"] .hint')
    expect(hint).to_have_text(
        "number of samples in one call of a normalizer (≥ 1, ≤ 65536; default 32)"
    )
    page.get_by_label("Start from").select_option("timm-resnet50-a3")
    expect(page.get_by_label("name", exact=True)).to_have_value("timm ResNet-50 A3")
    expect(page.locator("#f-optimizer-name")).to_have_value("lamb")
    expect(page.locator("#f-augmentations-0-name")).to_have_value("random_resized_crop")


def as_json(page: Page) -> Any:
    return json.loads(page.locator("#json").text_content() or "null")


def test_what_is_not_filled_in_is_no_field_of_the_job(page: Page) -> None:
    page.goto("/jobs/new")
    expect(page.locator("#verdict")).to_contain_text("32 samples per update")
    assert as_json(page) == {"normalizer": {"kind": "batch"}}
    expect(page.locator("#f-sharding")).to_have_value("")
    size = page.get_by_role("textbox", name="batch size")
    size.fill("8")
    expect(page.locator("#verdict")).to_contain_text("8 samples per update")
    size.fill("")
    expect(page.locator("#verdict")).to_contain_text("32 samples per update")
    expect(size).to_have_attribute("placeholder", "32")
    assert as_json(page) == {"normalizer": {"kind": "batch"}}


def test_dots_say_that_a_preview_is_of_an_earlier_form_until_the_answer_is_there(
    page: Page,
) -> None:
    page.goto("/jobs/new")
    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text("32 samples per update")
    expect(verdict).not_to_have_attribute("aria-busy", "true")
    page.route("**/v1/jobs:validate", lambda _: None)  # the answer is not there yet
    page.get_by_text("As YAML").click()
    text = page.get_by_label("The job in YAML")
    expect(text).not_to_have_value("")
    text.fill("normalizer: online\nbatch_size: 8\ndataset: {name: digits}\n")
    page.get_by_role("button", name="Fill in the form from this").click()
    expect(verdict).to_have_attribute("aria-busy", "true")
    dots = "getComputedStyle(document.getElementById('verdict-title'), '::after').content"
    assert "…" in page.evaluate(dots)
    page.unroute("**/v1/jobs:validate")
    page.get_by_role("textbox", name="batch size").fill("4")
    expect(verdict).to_contain_text("4 samples per update")
    expect(verdict).to_contain_text("✗ ipu")
    expect(verdict).not_to_have_attribute("aria-busy", "true")


def test_an_empty_field_that_can_be_none_is_none(page: Page) -> None:
    page.goto("/jobs/new")
    page.get_by_text("Options of batch", exact=True).click()
    momentum = page.locator("#f-batch-normalizer-momentum")
    expect(momentum).to_have_attribute("placeholder", "the average over all batches")
    momentum.fill("")
    expect(page.locator("#json")).to_contain_text("momentum", use_inner_text=False)
    assert as_json(page)["normalizer"] == {"kind": "batch", "momentum": None}


def test_parts_of_a_copied_job_stay_in_its_order_and_are_no_change(
    page: Page, database: Database
) -> None:
    made = seeding.submit(database, name="first", diagnostics=["weight_norms", "power"])
    page.goto(f"/jobs/new?from={made}")
    expect(page.locator("#changed")).to_contain_text("nothing yet")
    page.get_by_label("effective_step").check()
    expect(page.locator("#changed")).to_contain_text('["weight_norms","power","effective_step"]')
