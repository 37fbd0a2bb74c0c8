from __future__ import annotations

import math

import pytest

from normlab.errors import InvalidSpec
from normlab.events import Finished, Metrics
from normlab.records import JobPage
from service.jobs import leases, listing, reading
from service.jobs.job_filters import JobFilters
from service.results import reports
from service.store.cursors import decode_cursor, encode_cursor
from service.store.database import Database
from tests.service.work import claim, series, submit


def _names(page: JobPage) -> list[str | None]:
    return [job.name for job in page.jobs]


def _walk(database: Database, sort: str, limit: int = 2) -> list[str | None]:
    found, cursor = [], None
    while True:
        page = listing.list_jobs(database, JobFilters(), sort, cursor, limit)
        found += _names(page)
        cursor = page.next_cursor
        if cursor is None:
            return found


def _with_accuracies(database: Database, *values: float | None) -> None:
    for i, value in enumerate(values):
        submit(database, name=f"job {i}", batch_size=i + 1)
        held = claim(database)
        if value is not None:
            said = {"val/accuracy": series(1, value=value)}
            reports.keep_all(database, held, [Metrics(series=said)])
        leases.finish(database, held, Finished(step=i, summary={}))


def test_an_empty_list_is_one_page(database: Database) -> None:
    assert listing.list_jobs(database) == JobPage(jobs=[], next_cursor=None)


def test_the_newest_comes_first(database: Database) -> None:
    for i in range(3):
        submit(database, name=str(i))
    assert _names(listing.list_jobs(database)) == ["2", "1", "0"]


SORTS = ["-created_at", "created_at", "name", "-name", "-batch_size", "state", "val/accuracy"]
SORTS += ["-val/accuracy", "finished_at", "-started_at", "-priority"]


@pytest.mark.parametrize("sort", SORTS)
def test_the_pages_together_are_the_whole_list_in_order(database: Database, sort: str) -> None:
    _with_accuracies(database, 0.5, None, 0.9, math.nan, 0.5)
    submit(database)  # without a name, a start time, or an accuracy
    whole = _names(listing.list_jobs(database, sort=sort))
    assert len(whole) == 6
    assert _walk(database, sort) == whole


def test_the_best_metric_comes_first_and_jobs_without_it_last(database: Database) -> None:
    _with_accuracies(database, 0.5, None, 0.9, math.nan)
    assert _names(listing.list_jobs(database, sort="-val/accuracy"))[:2] == ["job 2", "job 0"]
    assert _names(listing.list_jobs(database, sort="val/accuracy"))[:2] == ["job 0", "job 2"]


def test_a_page_continues_after_the_last_one_even_if_new_jobs_arrive(database: Database) -> None:
    for i in range(4):
        submit(database, name=str(i))
    page = listing.list_jobs(database, limit=2)
    submit(database, name="new")
    rest = listing.list_jobs(database, cursor=page.next_cursor, limit=10)
    assert _names(page) + _names(rest) == ["3", "2", "1", "0"]


FILTERS = [
    (JobFilters(state=("running",)), ["b"]),
    (JobFilters(state=("running", "queued"), device=("cpu",)), ["a", "b"]),
    (JobFilters(device=("ipu",)), ["100%_sure"]),
    (JobFilters(normalizer=("layer", "group")), ["a"]),
    (JobFilters(owner="bob"), ["100%_sure"]),
    (JobFilters(name="%_S"), ["100%_sure"]),
    (JobFilters(name="0%s"), []),
    (JobFilters(study="00000000-0000-7000-8000-000000000000"), []),
]


@pytest.mark.parametrize(("filters", "kept"), FILTERS)
def test_filters_keep_the_matching_jobs(
    database: Database, filters: JobFilters, kept: list[str]
) -> None:
    submit(database, name="b")
    claim(database)
    submit(database, name="a", normalizer="layer")
    submit(database, name="100%_sure", owner="bob", device="ipu")
    assert sorted(map(str, _names(listing.list_jobs(database, filters)))) == kept


def test_a_list_is_filtered_and_sorted_by_the_same_metric(database: Database) -> None:
    _with_accuracies(database, 0.5, None, 0.9, 0.1)
    filters = JobFilters(where="val/accuracy > 0.2 and batch_size > 0")
    best_first = listing.list_jobs(database, filters, "-val/accuracy")
    assert _names(best_first) == ["job 2", "job 0"]
    assert _names(listing.list_jobs(database, filters, "batch_size")) == ["job 0", "job 2"]


def test_lists_show_the_current_values_of_the_usual_metrics(database: Database) -> None:
    submit(database)
    said = {"val/accuracy": series(3, value=0.8), "power/conv1/bias": series(3)}
    reports.keep_all(database, claim(database), [Metrics(series=said)])
    (listed,) = listing.list_jobs(database).jobs
    assert list(listed.last) == ["val/accuracy"]
    assert listed.last["val/accuracy"].value == 0.8
    (sorted_by_it,) = listing.list_jobs(database, sort="-power/conv1/bias").jobs
    assert set(sorted_by_it.last) == {"val/accuracy", "power/conv1/bias"}
    assert set(reading.get(database, listed.id).last) == {"val/accuracy", "power/conv1/bias"}


MADE_UP = [
    "x",
    "%%%",
    "",
    "AAAA",
    encode_cursor("-created_at", ["yesterday", "00000000-0000-7000-8000-000000000000"]),
    encode_cursor("-created_at", ["2026-01-01T00:00:00+00:00", "nobody"]),
    encode_cursor("-created_at", [3, "00000000-0000-7000-8000-000000000000"]),
    encode_cursor("-created_at", ["2026-01-01T00:00:00+00:00"]),
    encode_cursor("name", ["a", "00000000-0000-7000-8000-000000000000"]),
    "\u00e4\u00f6",
]


@pytest.mark.parametrize("cursor", MADE_UP)
def test_an_invented_cursor_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(InvalidSpec, match="cursor"):
        listing.list_jobs(database, cursor=cursor)


@pytest.mark.parametrize("sort", ["age", "", "-", "-id", "spec; drop table job"])
def test_an_order_that_does_not_exist_is_refused_and_the_others_are_named(
    database: Database, sort: str
) -> None:
    with pytest.raises(InvalidSpec, match="batch_size"):
        listing.list_jobs(database, sort=sort)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_has_one_to_a_thousand_jobs(database: Database, limit: int) -> None:
    with pytest.raises(InvalidSpec, match="between 1 and 1000"):
        listing.list_jobs(database, limit=limit)


def test_a_cursor_survives_its_encoding() -> None:
    cursor = encode_cursor("-val/accuracy", [0.25, "id"])
    assert decode_cursor(cursor, "-val/accuracy", [float, str]) == [0.25, "id"]
