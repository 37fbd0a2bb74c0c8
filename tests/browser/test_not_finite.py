"""Metrics that are NaN or infinite in Chromium: shown by name everywhere, and never missing."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from normlab.events import Metrics, Series
from normlab.specs.jobs import JobSpec
from service.results import reports
from service.store.database import Database
from tests.browser import seeding
from tests.browser.test_inside import with_network
from tests.service.finishing import made
from tests.service.jobs.test_table import report
from tests.service.studies.test_differences import GRID, finish, value
from tests.service.studies.test_search_history import SPACE, run
from tests.service.studies.test_searches import create
from tests.service.work import claim, submit

pytestmark = pytest.mark.browser


def diverged(database: Database, *values: float, **fields: Any) -> str:
    """Make a job that has reported these accuracies, one after another."""
    submit(database, **fields)
    return report(database, {"val/accuracy": list(values)})


def test_the_table_of_runs_tells_nan_from_infinity_and_from_nothing(
    page: Page, database: Database
) -> None:
    for seed, last in enumerate([math.nan, -math.inf, 0.5]):
        diverged(database, last, seed=seed)
    submit(database, seed=3)
    page.goto("/runs?column=seed&column=val/accuracy&sort=seed")
    cells = page.locator("#runs tbody tr[data-at] td:nth-child(3)")
    expect(cells).to_have_text(["NaN", "-Infinity", "0.5", "–"])
    page.goto("/runs?column=normalizer&column=val/accuracy&grouped=1")
    mean = page.locator("#runs tbody tr[data-at] td").filter(has_text="n = ")
    expect(mean).to_have_text("0.5000 (n = 1, 1 NaN, 1 -Infinity)")


def test_a_comparison_names_what_its_means_and_curves_leave_out(
    page: Page, database: Database
) -> None:
    jobs = [diverged(database, 0.25, last, seed=i) for i, last in enumerate([0.5, 0.6, math.nan])]
    jobs += [diverged(database, last, seed=i, epochs=2) for i, last in enumerate([0.7, math.inf])]
    jobs += [diverged(database, math.nan, seed=0, epochs=3)]
    page.goto("/compare?" + "&".join(f"job={job}" for job in jobs))
    rows = page.locator("#groups tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("(n = 2, 1 NaN)")
    expect(rows.nth(1)).to_contain_text("(n = 1, 1 Infinity)")
    expect(rows.nth(2)).to_contain_text("no run has a finite number: 1 NaN")
    expect(page.locator("#curve-note")).to_contain_text("The curves of 3 runs have gaps")
    expect(page.locator("#scatter-note")).to_contain_text("3 runs are NaN or infinite")
    expect(page.locator("#parallel-note")).to_contain_text("3 runs are NaN or infinite")
    expect(page.locator("#parallel-note")).not_to_contain_text("no value yet")


def test_a_study_shows_in_cells_and_differences_which_seeds_are_not_finite(
    page: Page, database: Database
) -> None:
    study = made(database, GRID)

    def of(spec: JobSpec) -> float:
        if spec.batch_size == 2 and spec.normalizer.kind == "layer":
            return math.nan
        broke = spec.batch_size == 32 and spec.normalizer.kind == "group" and spec.seed == 1
        return math.inf if broke else value(spec)

    finish(database, of)
    page.goto(f"/studies/{study}?rows=normalizer&columns=batch_size")
    layer = page.locator("#heat tr").filter(has=page.get_by_role("rowheader", name="layer"))
    expect(layer.locator("td").nth(1)).to_have_text("NaN4 NaN")
    group = page.locator("#heat tr").filter(has=page.get_by_role("rowheader", name="group"))
    expect(group.locator("td").nth(0)).to_contain_text("n = 31 Infinity")
    expect(page.locator("#table")).to_contain_text("1 Infinity")


def test_the_page_of_a_job_and_its_curve_name_the_last_value(
    page: Page, database: Database
) -> None:
    job = diverged(database, 0.5, math.inf, math.nan)
    page.goto(f"/jobs/{job}")
    latest = page.locator("[data-metric='val/accuracy'] [data-latest]")
    expect(latest).to_have_text("NaN at update 3")
    page.goto("/jobs")
    expect(page.locator("td[data-label='Val. accuracy']")).to_have_text("NaN")


def test_a_layer_that_is_not_a_number_is_named_inside_a_network(
    page: Page, database: Database
) -> None:
    with_network(page)
    job = seeding.submit(database, batch_size=20, epochs=5, diagnostics=["power"])
    told = {
        f"power/{site}/norm/{term}": Series(steps=[60, 120], values=last, times=[1, 2])
        for site, last in (("stem.norm", [0.5, math.nan]), ("1.norm", [math.inf, 0.25]))
        for term in ("channel_mean", "sample_mean", "channel_std", "sample_std")
    }
    assert reports.keep_all(database, claim(database), [Metrics(series=told)])
    page.goto(f"/jobs/{job}/inside")
    heat = page.locator("#power canvas").first
    expect(heat).to_have_attribute("aria-label", re.compile("1 Infinity, 1 NaN"))
    said = page.locator("#power .readout")
    expect(said).to_have_text(re.compile("stem.norm, epoch .*: NaN"))
    heat.press("ArrowDown")
    heat.press("ArrowLeft")
    expect(said).to_have_text(re.compile("1.norm, epoch .*: Infinity"))


def test_trials_that_are_not_finite_are_named_and_not_drawn(page: Page, database: Database) -> None:
    study = create(database, space=SPACE, trials=6, parallel=2)
    values = iter([math.nan, 0.5, math.inf, 0.25, 0.75, 0.5])
    run(database, lambda _: next(values))
    page.goto(f"/studies/{study.id}")
    expect(page.locator("#best-trial")).to_contain_text("1 NaN, 1 Infinity")
    expect(page.locator("#trials polyline")).to_have_count(4)


def test_a_search_without_a_finite_value_says_so_in_two_sentences(
    page: Page, database: Database
) -> None:
    study = create(database, space=SPACE, trials=2, parallel=2)
    run(database, lambda _: math.nan)
    page.goto(f"/studies/{study.id}")
    told = "No trial has succeeded with a finite value yet. These trials are in no chart, because"
    expect(page.locator("#best-trial")).to_contain_text(told)
