"""The speed of the pages with 100,000 jobs in the table and 100 curves of 100,000 points."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright
from sqlalchemy import text

from benchmarks.command import as_measured, parser_of, show
from normlab.events import Finished, Metrics, Series
from normlab.specs.jobs import JobSpec
from service.jobs import leases, submissions
from service.results import reports
from service.servers.launcher import launch
from service.servers.servers_file import read_servers
from service.settings import Settings
from service.store.database import Database

NAME = "page"
JOBS, CURVES, POINTS = 100_000, 100, 100_000
_PATIENCE_MS = 120_000
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_COPIES = text("""
    insert into job (id, owner, name, request_hash, spec, fingerprint, normalizer, proxy, model,
        dataset, batch_size, samples_per_update, seed, device, device_reason, priority,
        max_attempts, state, step, epochs, created_at)
    select md5(i::text)::uuid, 'bob', 'job ' || i, 'h', spec, md5(i::text), normalizer, proxy,
        model, dataset, 1 + i % 64, 1 + i % 64, i, device, 'made by a benchmark', 0, 3,
        'succeeded', i % 1000, epochs, now() - i * interval '1 second'
    from (select * from job limit 1) as one, generate_series(1, :n) as i
""")
_STANDS = text("""
    insert into metric_last
        (job, key, attempt, step, value, min, min_step, max, max_step, total, points)
    select job.id, metric_key.id, 1, 10, random(), 0, 0, 1, 0, 5, 10 from job, metric_key
    where job.owner = 'bob'
""")
# after two frames, everything has been painted
_PAINTED = "() => new Promise((d) => requestAnimationFrame(() => requestAnimationFrame(d)))"


def main() -> int:
    """Measure; return 1 if the first paint of the table takes more than a second."""
    parser_of(__doc__).parse_args()
    with _stack() as (page, database):
        compared = _curves(database)
        _copies(database)
        rows = as_measured(_measured(page, compared))
    show(NAME, rows, f"{JOBS:,} jobs; {CURVES} curves of {POINTS:,} points; first paint within 1 s")
    return 0 if rows[0]["ms"] <= 1000 and not any(row.get("refused") for row in rows) else 1


@contextmanager
def _stack() -> Iterator[tuple[Page, Database]]:
    found = next((path for path in map(shutil.which, _BROWSERS) if path), None)
    if found is None:
        raise SystemExit(f"no Chromium is on PATH (looked for {', '.join(_BROWSERS)})")
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="normlab-page-")))
        settings = Settings(data_dir=folder, port=0, database_url=None, broker_url=None)
        running = ending.enter_context(launch(settings, worker=False))
        servers = read_servers(folder)
        assert servers is not None
        database = ending.enter_context(Database(servers.database_url))
        playwright = ending.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        ending.callback(browser.close)
        context = browser.new_context(base_url=running.url)
        context.set_default_timeout(_PATIENCE_MS)
        context.request.post("/login", form={"token": running.connection.token})
        yield context.new_page(), database


def _curves(database: Database) -> list[str]:
    """Make finished jobs with long curves."""
    steps = list(range(1, POINTS + 1))
    jobs = []
    for seed in range(CURVES):
        rate = 0.01 * (1 + seed // 10)
        spec = JobSpec.model_validate(
            {"normalizer": "batch", "seed": seed % 10, "optimizer": {"lr": rate}}
        )
        job, _ = submissions.submit(
            database, spec, owner="ada", device="cpu", device_reason="a benchmark", steps=POINTS
        )
        lease = leases.claim(database, "cpu", "benchmark", 3600)
        assert lease is not None
        values = [math.exp(-s / 30_000) + rate + (s % 97) / 500 for s in steps]
        series = Series(steps=steps, values=values, times=[s / 10 for s in steps])
        assert reports.keep_all(database, lease, [Metrics(series={"train/loss": series})])
        leases.finish(database, lease, Finished(step=POINTS, summary={}))
        jobs.append(job.id)
    return jobs


def _copies(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(_COPIES, {"n": JOBS})
        connection.execute(_STANDS)
    with database.autocommit() as connection:  # as PostgreSQL itself does within minutes
        connection.execute(text("vacuum (analyze) job, metric_last, metric_key"))


def _measured(page: Page, compared: list[str]) -> Iterator[dict[str, Any]]:
    yield {"what": "first paint of the table, first visit", "ms": _first_paint(page, "/runs")}
    yield {"what": "first paint of the table", "ms": _first_paint(page, "/runs")}
    yield {"what": "first paint of the jobs", "ms": _first_paint(page, "/jobs")}
    first = "document.querySelector('#runs tbody a')"
    yield _timed("first rows of the table", page, lambda: page.goto("/runs"), first)
    middle = "/job (499|500)/.test(document.querySelector('#runs tbody').textContent)"
    half = "() => { box.scrollTop = box.scrollHeight / 2; }"
    yield _timed("jump to the middle", page, lambda: page.evaluate(half), middle)
    for which, ms in _frames(page).items():
        yield {"what": f"frame while scrolling, {which} of 120", "ms": ms}
    sort = page.get_by_role("button", name="train/loss", exact=True)
    head = "document.querySelector('th[aria-sort=descending] .sort').title === 'Sort by train/loss'"
    yield _timed("sort by a metric", page, sort.click, f"{head} && {first}")
    query = "&".join(f"job={job}" for job in compared)
    drawn = "document.querySelector('#chart canvas')"
    address = f"/compare?{query}&metric=train/loss"
    yield _timed("100 curves in bands", page, lambda: page.goto(address), drawn)
    yield _timed("100 curves one by one", page, page.get_by_label("Seeds as bands").uncheck)


def _timed(what: str, page: Page, work: Any, until: str | None = None) -> dict[str, Any]:
    began = time.perf_counter()
    work()
    if until is not None:
        page.wait_for_function(f"() => ({until}) || !failure.hidden")
    page.evaluate(_PAINTED)
    took = round(1000 * (time.perf_counter() - began))
    refused = page.locator("#failure:visible").all_inner_texts()
    return {"what": what, "ms": took, **({"refused": refused[0]} if refused else {})}


def _first_paint(page: Page, address: str) -> int:
    page.goto(address)
    found = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    return round(page.wait_for_function(found).json_value())


def _frames(page: Page) -> dict[str, int]:
    took = page.evaluate("""async () => {
        const box = document.getElementById("box");
        const took = [];
        for (let i = 0; i < 120; i += 1) {
            const began = performance.now();
            box.scrollTop += 340;
            await new Promise(requestAnimationFrame);
            took.push(performance.now() - began);
        }
        return took.sort((a, b) => a - b);
    }""")
    found = {"median": took[59], "sixth slowest": took[114], "slowest": took[-1]}
    return {which: round(ms) for which, ms in found.items()}


if __name__ == "__main__":
    raise SystemExit(main())
