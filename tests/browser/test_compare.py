"""The comparison of runs in Chromium: differences, curves, and a paired table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from service.jobs import trash
from service.store.database import Database
from tests.browser import seeding

pytestmark = pytest.mark.browser
MEANS = {"batch": 0.9083, "group": 0.8208}  # of val/loss, along a run


@pytest.fixture
def runs(page: Page, database: Database, tmp_path: Path) -> str:
    """Batch and group norm with two seeds each, of a study and outside, as a query."""
    seeding.beat(database)
    made = []
    for seed in range(2):
        for kind in ("batch", "group"):
            made.append(seeding.submit(database, seed=seed, normalizer=kind, batch_size=4))
            seeding.finish(database, seeding.claim(database), tmp_path)
    return "&".join(f"job={job}" for job in made)


def labels(page: Page) -> list[str]:
    shown: list[str] = page.locator("#chart .u-legend .u-series .u-label").all_inner_texts()
    return [text for text in shown[1:] if text]


def test_runs_are_compared_by_what_differs_with_seeds_as_bands_and_a_paired_test(
    page: Page, runs: str
) -> None:
    page.goto(f"/compare?{runs}")
    table = page.locator("#groups")
    expect(table.locator("tbody tr")).to_have_count(2)
    heads = table.locator("thead th").all_inner_texts()
    assert heads[2:4] == ["normalizer.kind", "val/accuracy"]
    assert "seed" not in heads
    row = table.locator("tbody tr").nth(1)
    expect(row).to_contain_text("group")
    expect(row).to_contain_text("+0.")
    by, interval = table.locator("tbody td.number").all_inner_texts()[5:7]
    ends = [by.split(" ")[0], *interval.split(" to ")]
    assert len({len(end.partition(".")[2]) for end in ends}) == 1, "as many decimals everywhere"
    means = table.locator("tbody td:nth-child(4)").all_inner_texts()
    assert all(re.fullmatch(r"\d\.\d{2,} ± \S+ \(n = 2\)", mean) for mean in means), means
    expect(page.locator("#chart canvas")).to_be_visible()
    assert labels(page) == ["batch (n = 2)", "group (n = 2)"]
    page.get_by_label("Compare with group").check()
    expect(table.locator("tbody tr").nth(0)).to_contain_text("-0.")
    page.get_by_label("Seeds as bands").uncheck()
    expect(page.locator("#chart .u-legend")).to_contain_text("batch, seed 1")
    assert len(labels(page)) == 4
    page.get_by_label("In the table").select_option("best")
    expect(table.locator("thead")).to_contain_text("val/accuracy:best")


def test_curves_are_coloured_by_any_column_and_their_seeds_stay_bands(
    page: Page, runs: str
) -> None:
    page.goto(f"/compare?{runs}&colour=val/loss:mean")
    colour, legend = page.get_by_label("Colour by"), page.locator("#chart .u-legend .u-label")
    drawn = [f"{kind}, val/loss:mean {mean} (n = 2)" for kind, mean in MEANS.items()]
    expect(legend.filter(has_text="val/loss")).to_have_text(drawn)
    expect(colour).to_have_value("val/loss:mean")
    colour.select_option("seed")
    texts = [f"{kind}, seed {seed} (n = 1)" for kind in ("batch", "group") for seed in (0, 1)]
    expect(legend.filter(has_text="seed")).to_have_text(texts)
    colour.select_option("optimizer.momentum")
    texts = [f"{kind}, optimizer.momentum 0.9 (n = 2)" for kind in ("batch", "group")]
    expect(legend.filter(has_text="momentum")).to_have_text(texts)
    page.reload()
    expect(legend.filter(has_text="momentum")).to_have_text(texts)


def test_a_value_has_one_colour_in_curves_and_parallel_coordinates(page: Page, runs: str) -> None:
    page.goto(f"/compare?{runs}&metric=val/loss&reduction=mean&colour=val/loss:mean")
    expect(page.locator("#parallel-note")).to_contain_text("coloured as the curves are")
    lines, of_curves = page.locator("#parallel polyline"), page.locator("#chart .u-marker")
    expect(lines).to_have_count(4)
    inks = "(all, name) => all.map((one) => getComputedStyle(one)[name])"
    strokes = set(lines.evaluate_all(inks, "stroke"))
    assert len(strokes) == 2
    assert strokes <= set(of_curves.evaluate_all(inks, "borderTopColor"))


def test_many_numbers_colour_curves_by_a_scale_and_bands_by_their_mean(page: Page) -> None:
    page.goto("/compare")
    found = page.evaluate(
        """async () => {
          const c = await import("/static/compare_colours.js");
          const runs = [...Array(20).keys()].map((i) => ({ id: i, group: i >> 1, seed: i }));
          const of = new Map(runs.map((run) => [run.id, run.id]));
          const column = { by: "val/loss", kind: "number", of };
          const values = c.parts(runs, column).map((band) => c.valueOf(band, column));
          const colours = c.palette(values, column);
          const inks = new Set(values.map((value) => colours.of(value).ink)).size;
          return { bands: values.length, values: values.slice(0, 2), scale: colours.scale, inks };
        }"""
    )
    scale = "lighter where val/loss is larger: from 0.5 to 18.5."
    assert found == {"bands": 10, "values": [0.5, 2.5], "scale": scale, "inks": 10}


def test_curves_are_drawn_along_updates_epochs_samples_and_time(page: Page, runs: str) -> None:
    page.goto(f"/compare?{runs}")
    expect(page.locator("#chart canvas")).to_be_visible()
    ends = {}
    for axis in ("update", "epoch", "sample", "time"):
        page.get_by_label("Along", exact=True).select_option(axis)
        words = {"update": "updates", "epoch": "epochs", "sample": "samples", "time": "seconds"}
        expect(page.locator("#chart .u-legend .u-label").first).to_have_text(words[axis])
        ends[axis] = axis
    page.get_by_label("Logarithmic x").check()
    page.get_by_label("Ignore outliers").check()
    expect(page.locator("#curve-note")).to_contain_text("outside the picture")
    page.get_by_label("Smoothing").fill("0.9")
    expect(page.locator("#curve-note")).to_contain_text("Smoothed with weight 0.9")
    page.reload()
    expect(page.locator("#curve-note")).to_contain_text("Smoothed with weight 0.9")
    expect(page.get_by_label("Along", exact=True)).to_have_value("time")


def test_curves_are_smoothed_joined_and_put_on_other_axes_as_their_formulas_say(
    page: Page,
) -> None:
    page.goto("/compare")
    found = page.evaluate(
        """async () => {
          const c = await import("/static/compare_curves.js");
          const curve = (xs, values) => ({ xs, values, low: values, high: values });
          const two = c.joined([curve([1, 2, 3], [1, 2, 3]), curve([2, 4], [4, 8])]);
          const series = { steps: [10, 20], values: [1, 2], times: [5, 7], min: null, max: null };
          const run = { updates_per_epoch: 5, samples_per_update: 8 };
          const flat = [...Array(20).keys()].map((i) => i / 20);
          return {
            smoothed: c.smoothed([1, null, 3], 0.5),
            joined: [two.xs, two.values, two.low, two.high],
            epochs: c.along(series, run, "epoch").xs,
            samples: c.along(series, run, "sample").xs,
            time: c.along(series, run, "time").xs,
            unknown: c.along(series, { updates_per_epoch: null }, "epoch"),
            outliers: c.withoutOutliers([curve([], [...flat, 1000])]).ignored,
          };
        }"""
    )
    assert found["smoothed"] == [1, None, pytest.approx(7 / 3)]  # (.25 * 1 + .5 * 3) / .75
    assert found["joined"] == [[2, 3], [3, 3.5], [2, 3], [4, 4]]
    assert (found["epochs"], found["samples"], found["time"]) == ([2, 4], [80, 160], [0, 2])
    assert (found["unknown"], found["outliers"]) == (None, 1)


def test_curves_and_points_have_one_scale_for_one_column(
    page: Page, database: Database, tmp_path: Path
) -> None:
    jobs = []
    for size in (2, 4, 8, 16, 32):
        for seed in range(2):
            jobs.append(seeding.submit(database, seed=seed, batch_size=size))
            seeding.finish(database, seeding.claim(database), tmp_path)
    query = "&".join(f"job={job}" for job in jobs)
    page.goto(f"/compare?{query}&colour=val/accuracy:mean&sc=val/accuracy:mean")
    points, curves = page.locator("#scatter-note"), page.locator("#curve-note")
    expect(points).to_contain_text("A point is lighter where val/accuracy:mean is larger: from")
    scale = points.inner_text().removeprefix("A point is ").partition(" Logarithmic")[0]
    expect(curves).to_contain_text(f"A line is {scale}")  # means of bands have a smaller range
    page.get_by_label("Seeds as bands").uncheck()
    expect(curves).to_have_text(f"A line is {scale}")
    page.get_by_label("Coloured by").select_option("as the curves")
    expect(points).to_contain_text(f"A point is {scale}")


def test_any_two_columns_are_points_and_text_has_its_places(page: Page, runs: str) -> None:
    page.goto(f"/compare?{runs}")
    page.get_by_label("Vertical axis").select_option("val/loss")
    plot = page.locator("#scatter [role=img]")
    expect(plot).to_have_attribute("aria-label", "val/loss against normalizer.kind, 4 runs")


def test_points_are_of_any_columns_and_coloured_by_any_other_one(page: Page, runs: str) -> None:
    page.goto(f"/compare?{runs}&sc=val/loss:mean&sy=gone/metric")
    note, plot = page.locator("#scatter-note"), page.locator("#scatter [role=img]")
    expect(note).to_have_text("No run here has a column gone/metric.")
    names = page.locator("#scatter .u-legend .u-label")
    expect(names).to_have_text(["0.8208", "0.9083"])
    page.get_by_label("Horizontal axis").select_option("created_at")
    page.get_by_label("Vertical axis").select_option("optimizer.momentum")
    page.get_by_label("Coloured by").select_option("normalizer.kind")
    expect(plot).to_have_attribute("aria-label", "optimizer.momentum against created_at, 4 runs")
    expect(names).to_have_text(["batch", "group"])
    page.reload()
    expect(plot).to_have_attribute("aria-label", "optimizer.momentum against created_at, 4 runs")
    expect(page.get_by_label("Coloured by")).to_have_value("normalizer.kind")


def test_many_numbers_are_told_apart_by_a_scale_that_the_page_describes(
    page: Page, database: Database
) -> None:
    rates = [0.001 * 2**i for i in range(9)]
    jobs = [seeding.submit(database, optimizer={"lr": rate}) for rate in rates]
    query = "&".join(f"job={job}" for job in jobs)
    page.goto(f"/compare?{query}&sx=name&sy=seed&sc=optimizer.lr")
    expect(page.locator("#scatter-note")).to_contain_text("9 runs have no value")
    page.get_by_label("Horizontal axis").select_option("optimizer.lr")
    note = (
        "A point is lighter where optimizer.lr is larger: from 0.001 to 0.256. "
        "Logarithmic: optimizer.lr, because the values span more than a factor of ten."
    )
    expect(page.locator("#scatter-note")).to_have_text(note)
    expect(page.locator("#scatter .u-legend")).to_be_hidden()


def test_runs_that_are_gone_are_named_and_the_others_are_compared(
    page: Page, runs: str, database: Database
) -> None:
    first, *others = (part.removeprefix("job=") for part in runs.split("&"))
    trash.trash(database, first)
    page.goto(f"/compare?{runs}&job=<b>&reference={first}")
    expect(page.locator("#title")).to_have_text("Compare 3 runs")
    expect(page.locator("#runs-gone")).to_have_text(
        "2 runs of this link were deleted or are in a project that you cannot see. "
        f"Their ids: {first}, <b>."
    )
    expect(page.locator("#chart canvas")).to_be_visible()
    expect(page.locator("#parallel polyline")).to_have_count(3)
    expect(page.locator("#failure")).to_be_hidden()
    page.goto(f"/compare?job={others[0]}&job={others[1]}")
    expect(page.locator("#title")).to_have_text("Compare 2 runs")
    expect(page.locator("#runs-gone")).to_be_hidden()
    page.goto(f"/compare?job={first}&job=x")
    expect(page.locator("#failure")).to_contain_text("none of these runs was found")


def test_a_link_to_two_thousand_runs_is_a_page_with_the_reason_and_a_way_on(page: Page) -> None:
    page.goto("/compare?" + "&".join(f"job={i:036}" for i in range(2000)))
    expect(page.get_by_role("heading", name="The request is too long")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("name fewer runs at once")
    page.get_by_role("link", name="Back to the jobs").click()
    expect(page).to_have_url("/jobs")


def test_too_many_runs_are_refused_with_the_limit_and_the_way_out(page: Page) -> None:
    page.goto("/compare?" + "&".join(f"job={i}" for i in range(150)))
    expect(page.locator("#failure")).to_contain_text("at most 100 can be compared at once")
    page.goto("/compare")
    expect(page.get_by_text("Choose two or more runs")).to_be_visible()


def test_runs_are_lines_through_all_that_differs_and_points_of_any_two_columns(
    page: Page, runs: str
) -> None:
    page.goto(f"/compare?{runs}")
    lines = page.locator("#parallel polyline")
    expect(lines).to_have_count(4)
    expect(page.locator("#parallel .axis-name").last).to_have_text("val/accuracy")
    titles = page.locator("#parallel polyline title").all_text_contents()
    assert sum("group" in title for title in titles) == 2
    page.get_by_label("Horizontal axis").select_option("duration")
    page.get_by_label("Vertical axis").select_option("val/loss:best")
    expect(page.locator("#scatter .uplot")).to_have_attribute(
        "aria-label", "val/loss:best against duration, 4 runs"
    )


def test_a_metric_that_no_run_has_is_named_and_no_other_one_is_drawn_instead(
    page: Page, runs: str
) -> None:
    page.goto(f"/compare?{runs}&metric=val/gone")
    expect(page.locator("#explained")).to_contain_text("None of these runs has reported val/gone.")
    metric = page.get_by_label("Metric", exact=True)
    expect(metric).to_have_value("val/gone")
    expect(metric.locator("option:checked")).to_have_text("val/gone (no run has it)")
    expect(page.locator("#chart")).to_have_text("None of these runs has reported val/gone.")
    expect(page.locator("#parallel")).to_have_text("No run has a value for every axis.")
    expect(page.locator("main")).not_to_contain_text("Infinity")
    metric.select_option("val/loss")
    expect(page.locator("#chart canvas")).to_be_visible()
    expect(page.locator("#explained")).not_to_contain_text("val/gone")


def test_what_tells_the_rows_apart_is_drawn_before_options_of_one_kind(
    page: Page, database: Database, tmp_path: Path
) -> None:
    jobs = []
    for kind in ("batch", "online"):
        for batch_size in (2, 16):
            jobs.append(seeding.submit(database, normalizer=kind, batch_size=batch_size))
            seeding.finish(database, seeding.claim(database), tmp_path)
    page.goto("/compare?" + "&".join(f"job={job}" for job in jobs))
    names = page.locator("#parallel .axis-name")
    drawn = ["normalizer.kind", "batch_size", "seed", "val/accuracy"]
    expect(names).to_have_text(drawn)  # online's own options would add nothing to its name
    expect(page.locator("#parallel-note")).to_contain_text("fields that differ; the table")
    offered = page.locator("#scatter-x optgroup").first.locator("option")
    assert offered.all_text_contents()[:2] == ["normalizer.kind", "batch_size"]


def test_one_run_is_not_said_to_differ_from_others(page: Page, runs: str) -> None:
    page.goto("/compare?" + runs.partition("&")[0])
    expect(page.locator("#title")).to_have_text("Compare 1 run")
    expect(page.locator("#explained")).to_contain_text("This is one run")
