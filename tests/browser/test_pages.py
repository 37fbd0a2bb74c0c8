"""The actions of users on the page, in Chromium."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from normlab.events import CheckpointWritten, Finished, Metrics, Progress, Series
from service.jobs import changes, leases
from service.results import reports
from service.store.database import Database
from tests.browser import seeding
from tests.browser.conftest import TOKEN

pytestmark = pytest.mark.browser


def test_an_unauthenticated_visitor_is_asked_for_a_token_once(stranger: Page) -> None:
    stranger.goto("/devices")
    expect(stranger).to_have_url("/login?next=/devices")
    stranger.get_by_label("Token").fill("wrong")
    stranger.get_by_role("button", name="Log in").click()
    expect(stranger.get_by_role("alert").first).to_contain_text("this token is unknown")
    stranger.get_by_label("Token").fill(TOKEN)
    stranger.get_by_role("button", name="Log in").click()
    expect(stranger.get_by_role("heading", name="Devices")).to_be_visible()
    (cookie,) = stranger.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    stranger.get_by_role("button", name="Log out").click()
    stranger.goto("/jobs")
    expect(stranger).to_have_url("/login?next=/jobs")


def test_empty_lists_say_what_to_do(page: Page) -> None:
    page.goto("/jobs")
    expect(page.get_by_text("No jobs yet.")).to_be_visible()
    page.goto("/jobs?state=failed")
    expect(page.get_by_text("No job matches these filters.")).to_be_visible()
    page.goto("/jobs?trash=1")
    expect(page.get_by_text("The trash is empty.")).to_be_visible()
    page.goto("/jobs?archived=1")
    expect(page.get_by_text("No job is archived.")).to_be_visible()
    page.goto("/studies")
    expect(page.get_by_text("No studies yet.")).to_be_visible()


def test_a_job_is_submitted_through_the_form_and_watched_to_its_end(
    page: Page, database: Database, tmp_path: Path
) -> None:
    page.goto("/jobs/new")
    page.get_by_label("name", exact=True).fill("from the form")
    page.get_by_label("Kind").select_option("group")
    page.get_by_label("dataset", exact=True).select_option("digits")
    page.get_by_role("textbox", name="groups").fill("3")
    wrong = page.locator('[data-field="normalizer.groups"] .wrong:visible')
    expect(wrong).to_contain_text("does not divide")
    expect(page.get_by_role("button", name="Submit")).to_be_disabled()
    page.get_by_role("textbox", name="groups").fill("2")
    expect(page.locator("#verdict")).to_contain_text("On cpu")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name="from the form")).to_be_visible()
    expect(page.locator("#state")).to_have_text("queued")
    expect(page.get_by_text("No metric has been reported yet")).to_be_visible()

    claim = seeding.claim(database)
    assert claim.spec.normalizer.model_dump()["groups"] == 2
    expect(page.locator("#state")).to_have_text("running")
    seeding.report(database, claim, 120, tmp_path)
    expect(page.locator('[data-metric="train/loss"] canvas')).to_be_visible()
    expect(page.locator("#progress-text")).to_contain_text("update 120 of 400")
    expect(page.locator("#log")).to_contain_text("epoch 0: loss")
    expect(page.get_by_role("link", name="weights.safetensors")).to_be_visible()
    leases.finish(database, claim, Finished(step=120, summary={}))
    expect(page.locator("#state")).to_have_text("succeeded")
    expect(page.locator("#events tr").first).to_contain_text("succeeded")
    at = page.locator("#events tr").first.locator("td").first
    expect(at).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$"))
    expect(page.locator("dd").filter(has_text="is live")).to_have_text(re.compile(r"^cpu: \w"))


def test_a_curve_grows_while_the_page_is_open(
    page: Page, database: Database, tmp_path: Path
) -> None:
    job = seeding.submit(database)
    claim = seeding.claim(database)
    seeding.report(database, claim, 40, tmp_path)
    page.goto(f"/jobs/{job}")
    latest = page.locator('[data-metric="train/loss"] [data-latest]')
    expect(latest).to_contain_text("at update 40")
    series = Series(steps=[41], values=[1.25], times=[41.0])
    told = [
        Metrics(series={"train/loss": series}),
        Progress(step=41, steps=400, epoch=1, epochs=5),
    ]
    assert reports.keep_all(database, claim, told)
    expect(latest).to_have_text("1.25 at update 41")


def test_tick_marks_of_updates_are_whole_and_large_values_fit_next_to_their_axis(
    page: Page, database: Database, tmp_path: Path
) -> None:
    job = seeding.submit(database)
    claim = seeding.claim(database)
    large = Series(steps=[1, 2], values=[1.0, -2.5e19], times=[1.0, 2.0])
    assert reports.keep_all(database, claim, [Metrics(series={"train/loss": large})])
    page.goto(f"/jobs/{job}")
    latest = page.locator('[data-metric="train/loss"] [data-latest]')
    expect(latest).to_have_text("-2.5e+19 at update 2")
    marks = page.evaluate(
        """async () => {
          const { Chart } = await import("/static/charts.js");
          const chart = new Chart(document.body, "x", [{ id: "a", label: "a" }]);
          const last = { step: 41, value: 1 };
          chart.series = [{ steps: [40, 41], values: [0, 1], last }];
          chart.draw();
          await new Promise(requestAnimationFrame);
          return chart.plot.axes[0]._splits;
        }"""
    )
    assert marks == [40, 41]


def test_no_number_is_shown_as_another_one(page: Page) -> None:
    page.goto("/jobs")
    whole, marks, short = page.evaluate(
        """async () => {
          const { marks, measured, readable } = await import("/static/numbers.js");
          const percent = (value, digits) => measured("device/cpu_percent", value, digits);
          return [
            [12345, 1234567, 200000, 2.5e19].map((v) => readable(v)),
            [marks([1004.5, 1005, null, 1005.5]), marks([0.98765, 0.98766]),
             marks([99.91, 99.92], percent)],
            [0.98765, 0.000123456].map((v) => readable(v)),
          ];
        }"""
    )
    assert whole == ["12345", "1234567", "2e+5", "2.5e+19"]
    assert marks == [
        ["1004.5", "1005", "", "1005.5"],
        ["0.98765", "0.98766"],
        ["99.91 %", "99.92 %"],
    ]
    assert short == ["0.9877", "1.23e-4"], "where a value stands alone, few digits do"


def test_bytes_have_a_unit_wherever_a_number_of_them_is(page: Page) -> None:
    page.goto("/jobs")
    alone, marks, like, cell = page.evaluate(
        """async () => {
          const { marksOf, measured } = await import("/static/numbers.js");
          const { like } = await import("/static/study_table.js");
          const { text } = await import("/static/runs_values.js");
          const tiny = { mean_text: "4.8e-7 GiB" }; // a difference beside means of this unit
          return [
            ["device/memory_bytes", "device/memory_bytes:max", "val/loss"].map(
              (metric) => measured(metric, 310000000)),
            marksOf("device/memory_bytes")(null, [2 ** 28, 2 ** 29, -(2 ** 28)]),
            [like({ mean_text: "295.6 MiB" }, 3.2e8), like(tiny, 768)],
            text(3.1e8, "number", "device/memory_bytes"),
          ];
        }"""
    )
    assert alone == ["296 MiB", "296 MiB", "3.1e+8"]
    assert marks == ["256 MiB", "512 MiB", "-256 MiB"]
    assert (like, cell) == (["305.2 MiB", "7.15e-7 GiB"], "296 MiB")


def test_the_list_follows_what_happens_and_keeps_its_filters(
    page: Page, database: Database
) -> None:
    page.goto("/jobs?state=queued")
    expect(page.get_by_text("No job matches these filters.")).to_be_visible()
    job = seeding.submit(database, name="just come")
    expect(page.get_by_role("link", name="just come")).to_be_visible()
    changes.cancel(database, job)
    expect(page.get_by_role("link", name="just come")).to_have_count(0)


def test_what_happens_before_the_stream_is_open_is_followed_too(
    page: Page, database: Database
) -> None:
    def submit_first(route: Route) -> None:
        seeding.submit(database, name="just before")
        route.continue_()

    page.route("**/v1/events*", submit_first, times=1)
    page.goto("/jobs?state=queued")
    expect(page.get_by_role("link", name="just before")).to_be_visible()


def test_filters_and_orders_are_those_of_the_service(
    page: Page, database: Database, tmp_path: Path
) -> None:
    seeding.fill(database, tmp_path)
    page.goto("/jobs")
    page.get_by_label("Filter", exact=True).fill("normalizer = group and val/accuracy > 0.5")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Filter", exact=True).fill("normalizer =")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("alert").filter(has_text="position")).to_be_visible()
    expect(page.get_by_text("No job matches these filters.")).to_be_hidden()  # unknown
    page.goto("/jobs?sort=name&state=failed")
    expect(page.locator("tbody tr")).to_have_count(1)


def test_a_failed_job_shows_the_reason_and_can_be_retried(
    page: Page, database: Database, tmp_path: Path
) -> None:
    made = seeding.fill(database, tmp_path)
    page.goto(f"/jobs/{made['failed']}")
    expect(page.get_by_role("alert").filter(has_text="smaller learning rate")).to_be_visible()
    posted: list[str] = []
    page.on("request", lambda r: posted.append(r.url) if r.method == "POST" else None)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#state")).to_have_text("queued")
    assert len(posted) == 1
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#state")).to_have_text("cancelled")


def test_a_zoom_asks_for_that_range_and_goes_back(
    page: Page, database: Database, tmp_path: Path
) -> None:
    made = seeding.fill(database, tmp_path)
    page.goto(f"/jobs/{made['succeeded']}")
    over = page.locator('[data-metric="train/loss"] .u-over')
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    with page.expect_request(lambda r: "from_step" in r.url and "train%2Floss" in r.url) as asked:
        page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60, steps=5)
        page.mouse.up()
    assert "from_step=9" in asked.value.url or "from_step=10" in asked.value.url
    with page.expect_request(lambda r: "/v1/series" in r.url and "from_step" not in r.url):
        page.get_by_role("button", name="Whole range").click()


def test_a_job_that_is_gone_from_a_comparison_is_named_and_the_others_are_drawn(
    page: Page, database: Database, tmp_path: Path
) -> None:
    made = seeding.fill(database, tmp_path)
    page.goto(f"/jobs/{made['succeeded']}?compare=nobody&compare={made['running']}")
    expect(page.locator("#compared li")).to_have_count(1)
    expect(page.locator("#compared-gone")).to_have_text(
        "Not compared, because it was deleted or is in a project that you cannot see: nobody."
    )
    expect(page.locator('[data-metric="train/loss"] .u-legend')).to_contain_text("under way")


def test_jobs_are_compared_in_one_chart_with_a_separate_address(
    page: Page, database: Database, tmp_path: Path
) -> None:
    made = seeding.fill(database, tmp_path)
    page.goto(f"/jobs/{made['succeeded']}")
    page.get_by_label("Compare with").select_option(made["running"])
    legend = page.locator('[data-metric="train/loss"] .u-legend')
    expect(legend).to_contain_text("under way")
    assert f"compare={made['running']}" in page.url
    page.reload()
    expect(legend).to_contain_text("under way")
    page.get_by_role("button", name="Remove under way").click()
    expect(legend).not_to_contain_text("under way")


def test_a_copy_of_a_job_starts_with_its_specification(
    page: Page, database: Database, tmp_path: Path
) -> None:
    made = seeding.fill(database, tmp_path)
    page.goto(f"/jobs/new?from={made['succeeded']}")
    expect(page.get_by_label("Kind")).to_have_value("group")
    expect(page.get_by_role("textbox", name="batch size")).to_have_value("4")
    expect(page.locator("#f-group-normalizer-proxy")).to_be_checked()
    expect(page.locator("#json")).to_contain_text('"proxy": true')


def test_a_lost_server_is_reported_and_reconnected(page: Page) -> None:
    page.goto("/devices")
    banner = page.locator("#disconnected")
    page.context.set_offline(True)
    expect(banner).to_be_visible()
    page.context.set_offline(False)
    expect(banner).to_be_hidden()


def test_what_failed_while_the_server_was_away_is_not_said_any_more_when_it_is_back(
    page: Page, database: Database
) -> None:
    job = seeding.submit(database)
    page.goto(f"/jobs/{job}")
    expect(page.locator("#outlook")).to_contain_text("next")
    page.route("**/outlook", lambda route: route.abort())
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#failure")).to_contain_text("The server does not answer")
    page.unroute("**/outlook")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#failure")).to_be_hidden()
    expect(page.locator("#disconnected")).to_be_hidden()


def test_hundreds_of_events_do_not_push_the_rest_of_a_job_down(
    page: Page, database: Database, tmp_path: Path
) -> None:
    job = seeding.submit(database)
    (path := tmp_path / "w").write_bytes(b"weights")
    written = {"path": str(path), "sha256": "0" * 64, "bytes": 7}
    told = [CheckpointWritten(step=step, **written) for step in range(1, 301)]
    assert reports.keep_all(database, seeding.claim(database), told)
    page.goto(f"/jobs/{job}")
    expect(page.locator("#events tr")).to_have_count(302)
    box = page.get_by_role("region", name="Events").last.bounding_box()
    assert box is not None
    assert box["height"] < 500
    page.get_by_role("region", name="Events").last.focus()  # it scrolls by keyboard


def test_a_busy_server_is_asked_again_and_nothing_is_said_to_be_wrong(
    page: Page, database: Database, tmp_path: Path
) -> None:
    job = seeding.submit(database)
    seeding.report(database, seeding.claim(database), 200, tmp_path)
    busy = {"code": "too_busy", "detail": "2 costly reads are under way", "status": 429}
    refused: list[str] = []

    def refuse_once(route: Route) -> None:
        if route.request.url in refused:
            return route.continue_()
        refused.append(route.request.url)
        return route.fulfill(status=429, json=busy)

    page.route(re.compile(r"/v1/.*(metrics|series|logs)"), refuse_once)
    page.goto(f"/jobs/{job}")
    expect(page.locator("#charts canvas").first).to_be_visible()
    expect(page.locator("#log")).to_contain_text("training on cpu")
    assert len(refused) > 1
    expect(page.get_by_text("costly reads")).to_have_count(0)


def test_a_pause_that_would_end_after_the_last_moment_is_not_made(
    page: Page, database: Database
) -> None:
    job = seeding.submit(database)
    late = {"code": "too_many_requests", "detail": "ask again in 70 s", "status": 429}
    page.route(
        re.compile(r"/v1/.*logs"),
        lambda route: route.fulfill(status=429, json=late, headers={"Retry-After": "70"}),
    )
    page.goto(f"/jobs/{job}")
    expect(page.get_by_text("ask again in 70 s")).to_be_visible()


def test_a_name_with_markup_is_shown_and_not_run(page: Page, database: Database) -> None:
    name = "<img src=x onerror=document.title='run'>"
    job = seeding.submit(database, name=name)
    for address in ("/jobs", f"/jobs/{job}", "/jobs/new"):
        page.goto(address)
        assert page.title() != "run"
    page.goto(f"/jobs/{job}")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def test_a_hundred_curves_of_a_hundred_thousand_points_are_drawn_at_once(
    page: Page, database: Database
) -> None:
    steps = list(range(1, 100_001))
    values = [1 / (1 + s / 1000) + (s % 97) / 500 for s in steps]
    series = Series(steps=steps, values=values, times=[float(s) for s in steps])
    first = seeding.submit(database, seed=0)
    assert reports.keep_all(
        database, seeding.claim(database), [Metrics(series={"train/loss": series})]
    )
    page.goto(f"/jobs/{first}")
    chart = page.locator('[data-metric="train/loss"] canvas')
    expect(chart).to_be_visible()
    # Reading and drawing one curve under a hundred names costs as much as a hundred jobs
    drawn, points = page.evaluate(
        """async ([job, n]) => {
            const { Chart } = await import("/static/charts.js");
            const jobs = Array.from({ length: n }, (_, i) => ({ id: job, label: `job ${i}` }));
            const chart = new Chart(document.getElementById("charts"), "train/loss", jobs);
            await chart.load();
            const times = [];
            for (let i = 0; i < 3; i += 1) {
                const began = performance.now();
                chart.redraw();
                await new Promise((d) => requestAnimationFrame(() => requestAnimationFrame(d)));
                times.push(performance.now() - began);
            }
            return [Math.min(...times), Math.max(...chart.series.map((s) => s.steps.length))];
        }""",
        [first, 100],
    )
    assert points <= 1280  # never more points than the screen has pixels
    assert drawn < 2000


def test_a_page_that_is_not_there_keeps_the_way_to_the_others(page: Page) -> None:
    page.goto("/jobs/01a2293c-0000-7000-8000-000000000000")
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("there is no job")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Runs").click()
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
