"""The page is accessible: axe finds nothing, the keyboard suffices, it fits and is light."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from service.store.database import Database
from tests.browser import seeding
from tests.service.studies.test_decider import better, create, decider, work

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "vendor" / "axe" / "axe.min.js"
MOST_BYTES = 300_000
SIZES = {"phone": (390, 844), "laptop": (1280, 800), "wide": (2560, 1440)}


@pytest.fixture
def addresses(page: Page, database: Database, tmp_path: Path) -> list[str]:
    made = seeding.fill(database, tmp_path)
    study = seeding.fill_study(database, tmp_path, done=4)
    return [
        "/jobs",
        "/runs",
        "/compare",
        *(f"/jobs/{made[state]}" for state in ("succeeded", "failed", "queued")),
        "/jobs/new",
        "/jobs/nothing",
        "/studies",
        f"/studies/{study.id}",
        f"/studies/{decided(database)}",
        "/studies/new",
        "/devices",
        "/normalizers",
        "/projects",
        "/usage",
        "/account",
        "/audit",
        "/login",
    ]


def decided(database: Database) -> str:
    """Make a study that decides, after its first looks."""
    study = create(database, {"at_most": 64}, seeds=6)
    work(database, better(0.03))
    for _ in range(3):
        decider(database).round()
        work(database, better(0.03))
    return study.id


def settle(page: Page, address: str) -> None:
    page.goto(address)
    if address.startswith(("/jobs/0", "/studies/0")):
        expect(page.locator("canvas, #no-curves:visible").first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(page: Page, addresses: list[str], scheme: str) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    found = []
    for address in addresses:
        settle(page, address)
        page.evaluate(AXE.read_text())
        report = page.evaluate("() => axe.run({ resultTypes: ['violations'] })")
        found += [
            f"{address}: {v['id']} at {[n['target'] for n in v['nodes']][:3]}: {v['help']}"
            for v in report["violations"]
        ]
    assert found == []


@pytest.mark.parametrize("size", SIZES)
def test_no_page_is_wider_than_the_screen(page: Page, addresses: list[str], size: str) -> None:
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    for address in addresses:
        settle(page, address)
        overhang = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overhang <= 0, f"{address} overhangs by {overhang} pixels"


def test_a_job_is_submitted_with_the_keyboard_alone(page: Page) -> None:
    page.goto("/jobs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="New job")).to_be_focused()
    page.keyboard.press("Enter")
    name = page.get_by_label("name", exact=True)
    name.wait_for()
    for _ in range(20):
        if name.evaluate("e => e === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.type("by keyboard")
    expect(page.locator("#verdict")).to_contain_text("On cpu")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="by keyboard")).to_be_visible()


def test_the_chosen_theme_stays(page: Page) -> None:
    page.emulate_media(color_scheme="light")
    page.goto("/jobs")
    page.get_by_role("button", name="Change between light and dark").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.goto("/devices")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    assert dark != "rgb(255, 255, 255)"


def test_pages_ask_no_other_server_for_anything(page: Page, addresses: list[str], url: str) -> None:
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    for address in addresses:
        settle(page, address)
    assert {a for a in asked if not a.startswith((url, "data:"))} == set()


@pytest.fixture
def everywhere(addresses: list[str]) -> list[str]:
    job = next(address for address in addresses if address.startswith("/jobs/0"))
    return [*addresses, f"{job}/inside", "/normalizers/batch", f"/compare?job={job[6:]}"]


def test_every_page_with_its_scripts_and_styles_is_light(page: Page, everywhere: list[str]) -> None:
    weigh = """() => performance.getEntries()
        .filter(({ name, encodedBodySize }) => encodedBodySize && !name.includes("/v1/"))
        .map(({ encodedBodySize }) => encodedBodySize)"""
    for address in everywhere:
        page.goto(address)
        sizes = page.evaluate(weigh)
        assert len(sizes) > 3, address
        assert sum(sizes) < MOST_BYTES, f"{address} has {sum(sizes):,} bytes in {len(sizes)} files"


def test_a_page_names_all_modules_that_it_needs_at_once(page: Page, everywhere: list[str]) -> None:
    needed = """() => performance.getEntriesByType("resource").map(({ name }) => name)
        .filter((name) => name.endsWith(".js"))"""
    named = """() => [...document.querySelectorAll("script[src], link[rel=modulepreload]")]
        .map(({ src, href }) => src ?? href)"""
    for address in everywhere:
        page.goto(address)
        assert sorted(set(page.evaluate(needed)) - set(page.evaluate(named))) == [], address


def test_a_card_of_a_telephone_keeps_a_cells_parts_together(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/account")
    label = page.evaluate(
        """() => {
          const cell = document.querySelector("td[data-label=Browser]");
          const style = getComputedStyle(cell, "::before");
          const [height, line] = [style.height, style.lineHeight].map(parseFloat);
          return { float: style.float, height, line };
        }"""
    )
    assert label["float"] == "left"
    assert label["height"] <= label["line"] + 1, "the label is one line"
