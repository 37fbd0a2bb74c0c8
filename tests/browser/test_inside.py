"""The pages that look inside a network, in Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from normlab.events import Diagnostic, Metrics, Progress, Series
from service.results import reports
from service.store.database import Database
from tests.browser import seeding
from tests.browser.test_access import AXE

pytestmark = pytest.mark.browser
_STEPS = [60, 120, 180]
_SITES = ["stem.norm", "1.norm"]


def _layer(name: str, role: str, after: list[int]) -> dict[str, Any]:
    return {"name": name, "role": role, "type": f"{role}(8)", "input": [8, 4, 4],
            "output": [8, 4, 4], "parameters": 16, "state": 0, "products": 100, "values": 128,
            "calls": 1, "weights_normalized": False, "after": after}  # fmt: skip


_LAYERS = [
    _layer("stem", "filter", []),
    _layer("stem.norm", "normalizer", [0]),
    _layer("1.norm", "normalizer", [1]),
    _layer("add 1", "join", [0, 2]),
]


def measured_job(database: Database, by: float = 1.0, **fields: Any) -> str:
    """Make a running job whose diagnostics have reported three epochs."""
    asked = ["power", "landscape", "ablation"]
    job = seeding.submit(database, batch_size=20, epochs=5, diagnostics=asked, **fields)
    told: dict[str, Series] = {}
    for i, site in enumerate(_SITES):
        for k, term in enumerate(("channel_mean", "sample_mean", "channel_std", "sample_std")):
            values = [by * (1 + i) * (1 + k) * epoch / 100 for epoch in (1, 2, 3)]
            name = f"power/{site}/norm/{term}"
            told[name] = Series(steps=_STEPS, values=values, times=[1, 2, 3])
    for end, value in (("low", 0.5), ("high", 1.5)):
        told[f"landscape/loss_{end}"] = Series(steps=_STEPS, values=[value] * 3, times=[1, 2, 3])
    record = {"zero": {"fractions": [0, 0.5], "accuracies": [[0.9, 0.4]], "mean": [0.9, 0.4]}}
    claimed = seeding.claim(database)
    reported = [
        Metrics(series=told),
        Progress(step=180, steps=300, epoch=3, epochs=5),
        Diagnostic(name="ablation", step=180, record=record),
    ]
    assert reports.keep_all(database, claimed, reported)
    return job


def with_network(page: Page) -> None:
    """Answer for the process that builds networks, which the pages' tests do without."""
    page.route("**/network", lambda route: route.fulfill(json={"layers": _LAYERS, "reason": ""}))


def test_one_moment_and_one_layer_move_through_all_pictures(page: Page, database: Database) -> None:
    with_network(page)
    page.goto(f"/jobs/{measured_job(database)}/inside")
    expect(page.locator("svg .layer")).to_have_count(4)
    said = page.locator("#power .readout")
    expect(said).to_have_text("stem.norm, epoch 3: 0.03")
    expect(page.locator("#moment")).to_have_text("epoch 3, update 180")
    page.get_by_role("slider", name="Reading").press("Home")
    expect(page.locator("#moment")).to_have_text("epoch 1, update 60")
    expect(said).to_have_text("stem.norm, epoch 1: 0.01")
    heat = page.locator("#power canvas").first
    heat.press("ArrowDown")
    heat.press("ArrowRight")
    expect(said).to_have_text("1.norm, epoch 2: 0.04")
    expect(page.locator("#power .areas h3")).to_have_text("1.norm, after the norm")
    expect(page.locator("#net .readout")).to_contain_text("1.norm: normalizer(8), 8 × 4 × 4")
    expect(page.locator("#net .readout")).to_contain_text("shown: 0.04")
    page.locator("svg").first.press("ArrowRight")
    expect(page.locator("#net .readout")).to_contain_text("add 1")


def test_the_pictures_play_to_the_end_and_stop(page: Page, database: Database) -> None:
    with_network(page)
    page.goto(f"/jobs/{measured_job(database)}/inside")
    expect(page.locator("#moment")).to_have_text("epoch 3, update 180")
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.locator("#moment")).to_have_text("epoch 3, update 180")
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_pictures_that_play_stop_where_a_person_takes_them_and_do_not_play_for_minutes(
    page: Page, database: Database
) -> None:
    with_network(page)
    job = seeding.submit(database, batch_size=20, epochs=120, diagnostics=["power"])
    steps = list(range(60, 120 * 60 + 1, 60))
    read = Series(steps=steps, values=[float(s) for s in steps], times=[float(s) for s in steps])
    told = [Metrics(series={"power/stem.norm/norm/total": read})]
    assert reports.keep_all(database, seeding.claim(database), told)
    page.clock.install()
    page.goto(f"/jobs/{job}/inside")
    moment = page.locator("#moment")
    expect(moment).to_have_text("epoch 120, update 7200")
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 60)
    page.get_by_role("button", name="Play").click()
    expect(moment).to_have_text("epoch 1, update 60")
    page.clock.run_for(450 * 20)
    expect(moment).to_have_text("epoch 41, update 2460")
    page.get_by_role("slider", name="Reading").press("ArrowRight")
    expect(moment).to_have_text("epoch 42, update 2520")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    page.clock.run_for(450 * 20)
    expect(moment).to_have_text("epoch 42, update 2520")


def test_two_runs_stand_side_by_side_with_one_scale_and_their_numbers(
    page: Page, database: Database
) -> None:
    with_network(page)
    other = measured_job(database, by=3.0, name="the <i>other</i>")
    one = measured_job(database, name="the one")
    page.goto(f"/jobs/{one}/inside")
    page.get_by_label("Compare with another run").select_option(other)
    expect(page).to_have_url(f"/jobs/{one}/inside?beside={other}")
    expect(page.locator("#power .readout")).to_have_text(
        ["stem.norm, epoch 3: 0.03", "stem.norm, epoch 3: 0.09"]
    )
    areas = page.locator("#power .areas [role=img]")  # the other's 30 % of 1 + 2 + 3 + 4
    for area in (areas.first, areas.last):
        expect(area).to_have_attribute("aria-label", "stem.norm, after the norm, from 0 to 0.9")
    page.locator("#power summary").click()
    expect(page.locator("#power caption").last).to_contain_text("the <i>other</i>")
    row = page.locator("#power tbody tr").filter(has_text="1.norm").last
    expect(row).to_have_text("1.norm0.060.120.18")
    page.locator("#ablation summary").click()
    expect(page.locator("#ablation .numbers td").first).to_have_text("0.9")


def test_a_running_job_grows_while_it_is_looked_into(page: Page, database: Database) -> None:
    with_network(page)
    seeded = seeding.submit(database, batch_size=20, epochs=5, diagnostics=["power"])
    page.goto(f"/jobs/{seeded}/inside")
    expect(page.locator("#moment")).to_have_text("no reading yet")
    told = {"power/stem.norm/norm/total": Series(steps=[60, 120], values=[1, 2], times=[1, 2])}
    progress = Progress(step=120, steps=300, epoch=2, epochs=5)
    assert reports.keep_all(database, seeding.claim(database), [Metrics(series=told), progress])
    expect(page.locator("#moment")).to_have_text("epoch 2, update 120")
    expect(page.locator("#reached")).to_have_text("epoch 2 of 5")


def test_the_page_fits_a_telephone_and_a_wall(
    page: Page, database: Database, tmp_path: Path
) -> None:
    with_network(page)
    job = measured_job(database)
    for width in (390, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(f"/jobs/{job}/inside")
        expect(page.locator("svg .layer")).to_have_count(4)
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert over <= 0
        assert page.locator("#power canvas").first.bounding_box()["width"] > 300


def test_a_kind_is_drawn_at_work_and_says_which_option_is_wrong(page: Page) -> None:
    values = [float(i - 4) for i in range(8)]
    found = {"what": "activations", "shape": [2, 2, 2], "x": values, "y": values, "dy": values,
             "dx": values, "evaluated": values, "doc": "y = x", "reason": ""}  # fmt: skip
    page.route("**/sample?*groups%22%3A2*", lambda route: route.fulfill(json=found))
    page.goto("/normalizers/group")
    expect(page.get_by_text("y = w (x - M_ng) / sqrt(V_ng + eps) + b")).to_be_visible()
    page.get_by_text("Options of the kind").click()
    page.get_by_label("groups", exact=True).fill("3")
    expect(page.locator("#sample-problem")).to_contain_text("does not divide 8 channels")
    page.get_by_label("groups", exact=True).fill("2")
    expect(page.locator("#sample-problem")).to_be_empty()
    page.locator("#forward canvas").press("ArrowRight")
    expect(page.locator("#sample-readout")).to_have_text("channel 0: input x -3, output y -3")
    page.get_by_text("Means and deviations").click()
    expect(page.locator("#moments tbody tr")).to_have_count(2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_inside_a_network_and_on_the_page_of_a_kind(
    page: Page, database: Database, scheme: str
) -> None:
    with_network(page)
    page.emulate_media(color_scheme=scheme)
    found = []
    for address in (f"/jobs/{measured_job(database)}/inside", "/normalizers/group"):
        page.goto(address)
        for summary in page.locator("main summary").all():
            if summary.is_visible():
                summary.click()
        page.evaluate(AXE.read_text())
        report = page.evaluate("() => axe.run({ resultTypes: ['violations'] })")
        found += [
            f"{address}: {v['id']} at {[n['target'] for n in v['nodes']][:3]}: {v['help']}"
            for v in report["violations"]
        ]
    assert found == []


@pytest.mark.parametrize("width", [1280, 2560])
def test_the_drawing_of_a_network_fills_its_column_at_every_width(
    page: Page, database: Database, width: int
) -> None:
    layers = [_layer(f"{i}.norm", "normalizer", [i - 1] if i else []) for i in range(24)]
    found = {"layers": layers, "reason": ""}
    page.route("**/network", lambda route: route.fulfill(json=found))
    job = measured_job(database)
    page.goto(f"/jobs/{job}/inside")
    expect(page.locator("svg .layer")).to_have_count(24)
    page.set_viewport_size({"width": width, "height": 900})
    filled = """() => {
      const [svg, box] = [".net-box svg", ".net-box"].map((at) => document.querySelector(at));
      return svg.getBoundingClientRect().width / box.clientWidth;
    }"""
    page.wait_for_function(f"({filled})() > 0.9")
    assert page.evaluate(filled) <= 1
    expect(page.locator("svg .layer.chosen")).to_have_count(1)


def test_a_page_of_a_kind_has_its_formulas_line_by_line_and_its_heads_in_bold(page: Page) -> None:
    page.goto("/normalizers/online")
    recurrences = page.get_by_label("Its formulas")
    assert recurrences.inner_text().splitlines()[0] == "y = (x - mu) / s"
    expect(page.locator("#work-title ~ p em, main em")).to_have_count(0)
    expect(page.locator("strong", has_text="What is safe.")).to_be_visible()
    options = page.get_by_role("row", name="layer_scaling_group_size")
    expect(options).to_contain_text("none: all")
    expect(page.locator("main")).not_to_contain_text("null")
