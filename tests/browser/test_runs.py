"""The table of runs in Chromium, used by somebody who compares many runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from service.jobs import trash
from service.store.database import Database
from tests.browser import seeding
from tests.browser.test_access import AXE
from tests.many_jobs import fill

pytestmark = pytest.mark.browser


@pytest.fixture
def runs(page: Page, database: Database, tmp_path: Path) -> dict[str, str]:
    """Two rates with two seeds each, finished, and one that waits."""
    seeding.beat(database)
    made = {}
    for seed in range(2):
        for rate in (0.1, 0.3):
            name = f"rate {rate} seed {seed}"
            made[name] = seeding.submit(database, name=name, seed=seed, optimizer={"lr": rate})
            seeding.finish(database, seeding.claim(database), tmp_path)
    made["waiting"] = seeding.submit(database, name="<b>waiting</b>", normalizer="layer")
    return made


def names(page: Page) -> Locator:
    return page.locator("#runs tbody tr[data-at] td a")


def column(page: Page, name: str) -> list[str]:
    heads = page.locator("#runs thead th")
    at = heads.evaluate_all("(all, name) => all.findIndex(th => th.dataset.column === name)", name)
    cells: list[str] = page.locator(
        f"#runs tbody tr[data-at] td:nth-child({at + 2})"
    ).all_inner_texts()
    return cells


def choose(page: Page, name: str, action: str) -> None:
    page.get_by_role("button", name=f"Menu of the column {name}", exact=True).click()
    page.get_by_role("menuitem", name=action, exact=True).click()


def test_columns_are_added_sorted_pinned_moved_and_removed_by_clicking(
    page: Page, runs: dict[str, str]
) -> None:
    page.goto("/runs")
    expect(page.locator("#count")).to_have_text("5 runs")
    page.get_by_label("Add a column").fill("val/loss:b")
    page.get_by_role("option", name="val/loss:best").click()
    head = page.locator('th[data-column="val/loss:best"]')
    expect(head).to_be_visible()
    rate = page.locator('th[data-column="optimizer.lr"]')
    rate.locator(".sort").click()
    expect(rate).to_have_attribute("aria-sort", "descending")
    rate.locator(".sort").click()
    expect(rate).to_have_attribute("aria-sort", "ascending")
    expect(names(page).first).to_contain_text("rate 0.1")
    assert column(page, "optimizer.lr") == ["0.1", "0.1", "0.1", "0.3", "0.3"]
    choose(page, "val/loss:best", "Sort from the smallest")
    expect(names(page).last).to_have_text("<b>waiting</b>")  # without a value: last
    choose(page, "val/loss:best", "Pin")
    order = "all => all.map(th => th.dataset.column)"
    assert page.locator("#runs thead th").evaluate_all(order)[:2] == ["name", "val/loss:best"]
    choose(page, "val/loss:best", "Show its mean")
    expect(page.locator('th[data-column="val/loss:mean"]')).to_be_visible()
    choose(page, "val/loss:mean", "Unpin")
    choose(page, "val/loss:mean", "Move left")
    assert page.locator("#runs thead th").evaluate_all(order)[-2:] == [
        "val/loss:mean",
        "created_at",
    ]
    choose(page, "val/loss:mean", "Remove")
    expect(page.locator('th[data-column="val/loss:mean"]')).to_have_count(0)


def test_the_filter_completes_fields_operators_and_values_and_names_what_is_wrong(
    page: Page, runs: dict[str, str]
) -> None:
    page.goto("/runs")
    box = page.get_by_label("Filter", exact=True)
    box.click()
    box.press_sequentially("norm")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("option", name="~")).to_be_visible()
    box.press_sequentially("= lay")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(box).to_have_value("normalizer = layer ")
    expect(page.get_by_role("option", name="and")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_have_text("1 run")
    assert "filter=normalizer+%3D+layer" in page.url
    box.fill("normalizer = layer and sed = 1")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.locator("#filter-wrong")).to_contain_text("the nearest are seed")


def test_a_mean_is_over_seeds_alone_and_what_else_differs_is_told(
    page: Page, runs: dict[str, str]
) -> None:
    page.goto("/runs?column=name&column=normalizer&column=val/accuracy&column=seed")
    page.get_by_label("Mean over seeds").check()
    expect(page.locator("#count")).to_have_text("3 groups")
    expect(page.locator("#alike")).to_contain_text("differ in optimizer.lr (0.1, 0.3)")
    page.get_by_role("button", name="Show these columns").click()
    expect(page.locator("#alike")).to_be_hidden()
    expect(page.locator("#runs tbody tr[data-at]")).to_have_count(3)
    assert sorted(column(page, "optimizer.lr")) == ["0.1", "0.1", "0.3"]
    means = [cell for cell in column(page, "val/accuracy") if cell != "–"]
    assert all("± " in cell and cell.endswith("(n = 2)") for cell in means)
    assert column(page, "seed").count("0, 1") == 2


def test_the_keyboard_suffices_to_select_runs_and_compare_them(
    page: Page, runs: dict[str, str]
) -> None:
    page.goto("/runs?sort=name")
    expect(page.locator("#count")).to_have_text("5 runs")
    page.locator("#runs").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowDown")
    expect(page.locator("#count")).to_have_text("5 runs, 2 runs selected")
    page.keyboard.press("Escape")
    expect(page.locator("#count")).to_have_text("5 runs")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"/jobs/{runs['waiting']}")
    page.go_back()
    page.locator('th[data-column="name"] .sort').focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("m")
    expect(page.get_by_role("menuitem", name="Sort from the smallest")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator('th[data-column="state"]')).to_have_attribute("aria-sort", "descending")
    expect(page.locator('th[data-column="state"] .sort')).to_be_focused()


def test_selected_runs_are_cancelled_deleted_and_written_together(
    page: Page, runs: dict[str, str]
) -> None:
    page.goto("/runs")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("checkbox", name="Select <b>waiting</b>").check()
    page.get_by_role("checkbox", name="Select rate 0.1 seed 0").check()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#failure")).to_contain_text("1 of 2 done.")
    expect(page.locator("#failure")).to_contain_text("is already succeeded")
    expect(page.locator("#runs .state.cancelled")).to_have_count(1)
    with page.expect_download() as got:
        page.get_by_role("button", name="JSON").click()
    (row,) = json.loads(Path(got.value.path()).read_text())
    assert (row["name"], row["optimizer.lr"]) == ("rate 0.1 seed 0", 0.1)
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("#count")).to_have_text("4 runs")


def test_a_view_is_saved_shared_by_its_link_and_says_if_its_metric_is_gone(
    page: Page, runs: dict[str, str], answers: Callable[[str], None]
) -> None:
    page.goto("/runs?column=name&column=val/gone:best&sort=name&filter=seed+%3D+0")
    expect(page.locator("#view-gone")).to_contain_text("no run has ever reported val/gone")
    answers("seed zero")
    page.get_by_role("button", name="Save view").click()
    expect(page.get_by_label("View", exact=True)).to_contain_text("seed zero")
    expect(page).to_have_url(re.compile(r"/runs\?view=[0-9a-f-]+$"))
    address = page.url
    page.goto("/runs")
    page.goto(address)
    expect(page.locator("#count")).to_have_text("3 runs")
    expect(page.locator("#view-gone")).to_contain_text(
        "The view “seed zero” asks for something that does not exist: "
        "no run has ever reported val/gone"
    )
    expect(page.get_by_label("Filter", exact=True)).to_have_value("seed = 0")
    page.get_by_role("button", name="Delete view").click()
    expect(page.get_by_label("View", exact=True)).not_to_contain_text("seed zero")
    page.goto(address)
    expect(page.locator("#failure")).to_contain_text("it may have been deleted")


def test_columns_of_a_link_that_are_gone_are_all_named_and_the_others_are_shown(
    page: Page, runs: dict[str, str]
) -> None:
    page.goto("/runs?column=name&column=optimizer.lost&column=seed&column=nowhere&sort=name")
    gone = page.locator("#view-gone")
    expect(gone).to_contain_text("'optimizer.lost' is not a column")
    expect(gone).to_contain_text("'nowhere' is not a column")
    expect(page.locator("#count")).to_have_text(f"{len(runs)} runs")
    order = "all => all.map(th => th.dataset.column)"
    assert page.locator("#runs thead th").evaluate_all(order) == ["name", "seed"]
    expect(gone).to_be_visible()  # also after the rows have come


def test_the_file_of_selected_runs_has_them_all_and_names_those_that_were_deleted_since(
    page: Page, runs: dict[str, str], database: Database
) -> None:
    page.goto("/runs?column=name&filter=seed+%3D+0")
    page.get_by_role("button", name="Select all").click()
    expect(page.locator("#count")).to_contain_text("3 runs selected")
    gone = runs["rate 0.1 seed 0"]
    trash.trash(database, gone)
    page.get_by_label("Filter", exact=True).fill("seed = 1")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#count")).to_contain_text("3 runs selected")
    with page.expect_download() as got:
        page.get_by_role("button", name="JSON").click()
    rows = json.loads(Path(got.value.path()).read_text())
    assert {row["id"] for row in rows} < set(runs.values()) - {gone}
    assert len(rows) == 2
    expect(page.locator("#failure")).to_contain_text(f"deleted since: {gone}")


@pytest.fixture
def answers(page: Page) -> Callable[[str], None]:
    """Answer the next questions of the browser with a text."""
    said = [""]
    page.on("dialog", lambda dialog: dialog.accept(said[0]))
    return lambda text: said.__setitem__(0, text)


def test_a_hundred_thousand_runs_are_scrolled_with_few_rows_and_few_requests(
    page: Page, database: Database
) -> None:
    fill(database, 5000)
    asked: list[dict[str, Any]] = []
    page.on("request", lambda r: asked.append(r.post_data_json) if "jobs:table" in r.url else None)
    page.goto("/runs?column=name&column=seed")
    expect(page.locator("#count")).to_have_text("5,001 runs")
    page.locator("#runs").focus()
    page.keyboard.press("End")
    expect(page.locator("#runs tr.active")).to_contain_text("job 5000")
    page.locator("#box").evaluate("box => { box.scrollTop = box.scrollHeight / 2 }")
    expect(page.locator("#runs tbody")).to_contain_text("job 2500")
    assert page.locator("#runs tbody tr").count() < 80
    assert len(asked) <= 6
    assert all(question["limit"] == 200 for question in asked)
    page.get_by_role("button", name="Select the first 1,000").click()
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#failure")).to_contain_text("at most 100 can be compared at once")
    assert "/runs" in page.url


def test_a_table_that_takes_too_long_says_so_and_the_filter_is_not_blamed(page: Page) -> None:
    problem = {"status": 429, "detail": "this takes longer than a read may", "errors": []}
    page.route("**/v1/jobs:table", lambda route: route.fulfill(status=429, json=problem))
    page.goto("/runs")
    expect(page.locator("#failure")).to_contain_text("takes longer than a read may")
    expect(page.locator("#filter-wrong")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_table_and_in_a_comparison(
    page: Page, runs: dict[str, str], scheme: str
) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    compared = "&".join(f"job={job}" for name, job in runs.items() if name != "waiting")
    found = []
    for address in ("/runs", f"/compare?{compared}"):
        page.goto(address)
        expect(page.locator("#runs tbody a, #chart canvas").first).to_be_visible()
        if address == "/runs":
            page.get_by_role("checkbox", name="Select <b>waiting</b>").check()
            page.locator("th button.more").first.click()
            expect(page.get_by_role("menu", name="Column")).to_be_visible()
        page.evaluate(AXE.read_text())
        report = page.evaluate("() => axe.run({ resultTypes: ['violations'] })")
        found += [
            f"{address}: {v['id']} at {[n['target'] for n in v['nodes']][:3]}: {v['help']}"
            for v in report["violations"]
        ]
    assert found == []


@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_the_table_fits_every_screen_and_its_page_is_light(
    page: Page, runs: dict[str, str], width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    sizes: list[int] = []
    page.on("response", lambda r: sizes.append(len(r.body())) if "/static/" in r.url else None)
    page.goto("/runs")
    expect(page.locator("#count")).to_have_text("5 runs")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.goto("/compare?" + "&".join(f"job={job}" for job in runs.values()))
    expect(page.locator("#chart canvas")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert sum(sizes) < 300_000


def test_a_telephone_shows_other_columns_beside_the_name_that_stays(
    page: Page, database: Database
) -> None:
    seeding.submit(database, name="a name of many words " * 6)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/runs")
    expect(page.locator("#count")).to_have_text("1 run")
    box, name = page.locator("#box"), page.locator("#runs tbody td.pinned").nth(1)
    state = page.locator("#runs tbody .state")
    assert name.bounding_box()["width"] < 0.5 * box.bounding_box()["width"]
    expect(state).to_be_in_viewport()
    box.evaluate("(box) => { box.scrollLeft = 600; }")
    moved = page.locator("#runs tr[data-at] td:last-child")
    moved.scroll_into_view_if_needed()
    right = name.bounding_box()["x"] + name.bounding_box()["width"]
    assert moved.bounding_box()["x"] >= right
    assert name.bounding_box()["x"] >= box.bounding_box()["x"]


def test_numbers_of_a_specification_stand_to_the_right_as_metrics_do(
    page: Page, runs: dict[str, str]
) -> None:
    page.goto("/runs")
    head = page.locator('#runs th[data-column="optimizer.lr"]')
    expect(head).to_have_class("number")
    head.get_by_role("button", name="optimizer.lr", exact=True).click()
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(page.locator("#runs th[data-column=normalizer]")).not_to_have_class("number")


def test_an_empty_table_says_why(page: Page, runs: dict[str, str]) -> None:
    page.goto("/runs?filter=batch_size+%3E+4000")
    expect(page.get_by_text("No run matches this filter.")).to_be_visible()
    page.get_by_label("Filter").fill("batch_size >")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("No run is shown, because the filter is not valid.")).to_be_visible()
    page.get_by_label("Filter").fill("")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#count")).to_have_text("5 runs")
    expect(page.locator("#no-runs")).to_be_hidden()
