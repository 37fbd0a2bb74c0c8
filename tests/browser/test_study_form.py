"""The study form in Chromium: YAML both ways, claims and recipes, and nothing lost in a copy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from service.store.database import Database
from tests.service.finishing import made

pytestmark = pytest.mark.browser


def as_yaml(page: Page, words: str) -> str:
    text = page.get_by_label("The study in YAML")
    if not text.is_visible():
        page.get_by_text("As YAML").click()
    page.wait_for_function(
        "words => document.getElementById('yaml').value.includes(words)", arg=words
    )
    return text.input_value()


def test_a_study_goes_through_yaml_and_back_and_keeps_what_the_form_does_not_show(
    page: Page,
) -> None:
    page.goto("/studies/new")
    assert "name: Normalizers at small batches" in as_yaml(page, "batch_size:")
    page.get_by_label("The study in YAML").fill(
        "name: mine\nbase: {normalizer: group, dataset: {name: digits}, epochs: 2}\n"
        "axes: {batch_size: [8, 4]}\nseeds: [7]\nexclude: [{batch_size: 4}, {batch_size: 3}]\n"
    )
    page.get_by_role("button", name="Fill in the form from this").click()
    expect(page.get_by_label("name", exact=True)).to_have_value("mine")
    expect(page.get_by_label("Kind")).to_have_value("group")
    expect(page.locator("#study-seeds")).to_have_value("7,")
    expect(page.locator("#kept")).to_contain_text("exclude")
    expect(page.locator("#preview")).to_contain_text("1 cell, 2 epochs to train")
    expect(page.locator("#preview")).to_contain_text('no cell matches the rule {"batch_size":3}')
    assert "exclude:" in as_yaml(page, "mine")


def test_a_normalizer_that_varies_is_none_that_all_cells_share(page: Page) -> None:
    page.goto("/studies/new")
    assert "base: {}\n" in as_yaml(page, "seeds: 2")
    page.get_by_label("Option").first.select_option("epochs")
    page.get_by_label("Values").first.fill("1, 2")
    assert "  normalizer:\n    kind: batch\n" in as_yaml(page, "epochs:")


@pytest.mark.parametrize(
    ("varied", "shown"),
    [
        ({"normalizer": ["batch", {"kind": "group", "proxy": True}]}, "batch, group+proxy"),
        ({"normalizer": ["batch", {"kind": "group", "groups": 2}]},
         '"batch", {"groups":2,"kind":"group"}'),
        ({"optimizer.lr": [0.1, 0.01]}, "0.1, 0.01"),
        ({"freeze": [["1.*", "2.*"], []]}, '["1.*","2.*"], []'),
    ],
)  # fmt: skip
def test_values_of_a_copied_study_are_written_as_people_write_them(
    page: Page, database: Database, varied: dict[str, Any], shown: str
) -> None:
    base = {"normalizer": "batch", "dataset": {"name": "digits"}}
    study = made(database, {"name": "first", "base": base, "axes": [varied], "seeds": 2})
    page.goto(f"/studies/new?from={study}")
    expect(page.get_by_label("Values")).to_have_value(shown)
    expect(page.locator("#preview")).to_contain_text("4 cells")
    copied = json.loads(page.locator("#json").text_content() or "null")
    assert copied["axes"] == [varied]


def test_names_in_a_preview_are_set_as_code(page: Page) -> None:
    page.goto("/studies/new")
    expect(page.locator("#preview code").first).to_have_text("pack")
    expect(page.locator("#preview")).not_to_contain_text("`")


def test_a_copied_study_is_the_same_study(page: Page, database: Database) -> None:
    spec: dict[str, Any] = {
        "name": "first", "base": {"normalizer": "layer", "dataset": {"name": "digits"}},
        "axes": [{"batch_size": [8, 4], "epochs": [2, 1]}], "seeds": [5], "priority": 3,
    }  # fmt: skip
    study = made(database, spec)
    page.goto(f"/studies/new?from={study}")
    expect(page.locator("#preview")).to_contain_text("2 cells")
    page.get_by_label("name", exact=True).fill("second")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("heading", name="second")).to_be_visible()
    listed = page.request.get("/v1/studies").json()["studies"]
    (copy, first) = (page.request.get(f"/v1/studies/{s['id']}").json()["spec"] for s in listed)
    assert {**copy, "name": "first", "base": None} == {**first, "base": None}
    assert copy["base"]["normalizer"]["kind"] == first["base"]["normalizer"] == "layer"


def test_an_answer_about_an_earlier_form_does_not_replace_that_about_the_present_one(
    page: Page,
) -> None:
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            return route.continue_()
        return held.append(route)

    page.route("**/v1/studies:preview", hold_the_first)
    page.goto("/studies/new")
    page.get_by_label("seeds").fill("5")
    expect(page.locator("#preview")).to_contain_text("45 cells")
    with page.expect_response("**/v1/studies:preview"):
        held[0].continue_()
    page.wait_for_timeout(200)  # for what must not happen
    expect(page.locator("#preview")).to_contain_text("45 cells")


def test_a_preview_that_failed_says_so_and_is_asked_for_again_with_the_next_change(
    page: Page,
) -> None:
    page.route("**/v1/studies:preview", lambda route: route.abort(), times=1)
    page.goto("/studies/new")
    expect(page.locator("#preview")).to_contain_text("Not known: The server does not answer")
    page.get_by_label("seeds").fill("3")
    expect(page.locator("#preview")).to_contain_text("27 cells")


def test_all_refused_cells_are_counted_though_few_are_listed(page: Page) -> None:
    page.goto("/studies/new")
    page.get_by_label("Values").last.fill("8")
    page.get_by_label("Values").first.fill('{"kind": "group", "groups": 7}, "batch"')
    page.get_by_label("seeds").fill("60")
    expect(page.locator("#preview")).to_contain_text("60 cells would be refused, such as:")
    expect(page.locator("#preview li")).to_have_count(10)
    expect(page.get_by_role("button", name="Run")).to_be_disabled()


def test_a_study_starts_from_a_claim_or_a_recipe(page: Page) -> None:
    page.goto("/studies/new")
    menu, side = page.get_by_label("Start from"), page.locator(".side")
    ends = [box["x"] + box["width"] for box in [menu.bounding_box()] if box]
    assert [end < box["x"] for end in ends for box in [side.bounding_box()] if box] == [True]
    page.get_by_label("Start from").select_option("claim=a-batch-size")
    expect(page.get_by_label("name", exact=True)).to_have_value("claim a: small batches, digits")
    expect(page.locator("#preview")).to_contain_text("cells")
    expect(page.locator("#preview .wrong")).to_have_count(0)
    page.get_by_label("Start from").select_option("recipe=timm-resnet50-a3")
    expect(page.locator("#f-optimizer-name")).to_have_value("lamb")
