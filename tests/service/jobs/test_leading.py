"""Jobs found by the index of last values are those that the whole list has, in its order."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from normlab.records import JobRecord
from service.jobs import leading, listing
from service.jobs.job_filters import JobFilters
from service.store.database import Database
from tests.many_jobs import fill

JOBS = 1200
_SPECIAL = text("""
    update metric_last set value = cast(:value as float8)
    where key = (select id from metric_key where name = 'val/accuracy')
        and job in (select id from job where seed between :first and :last)
""")
_MISSING = text("delete from metric_last where job in (select id from job where seed > 1190)")
_TRASHED = text("update job set trashed_at = now() where seed % 7 = 0")


@pytest.fixture(scope="module")
def many(servers: dict[str, str]) -> Iterator[Database]:
    """Jobs with equal, infinite, undefined and missing values, and some in the trash."""
    import psycopg

    maintenance = servers["database_url"].replace("/normlab?", "/postgres?")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute("create database leading_jobs template normlab strategy file_copy")
        with Database(servers["database_url"].replace("/normlab?", "/leading_jobs?")) as opened:
            fill(opened, JOBS)
            with opened.begin() as inside:
                values = [0.5, math.nan, math.inf, -math.inf]
                for i, value in enumerate(values):
                    first = 1 + 20 * i
                    inside.execute(_SPECIAL, {"value": value, "first": first, "last": first + 19})
                inside.execute(_MISSING)
                inside.execute(_TRASHED)
            yield opened
        connection.execute("drop database leading_jobs with (force)")


def all_jobs(database: Database, filters: JobFilters, sort: str, limit: int) -> list[str]:
    found, cursor = [], None
    while True:
        page = listing.list_jobs(database, filters, sort, cursor, limit)
        found += [job.id for job in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            return found


def value_of(job: JobRecord) -> float | None:
    stand = job.last.get("val/accuracy")
    return None if stand is None else stand.value


@pytest.fixture(params=["few", "table", "many"])
def found_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the ways in which jobs are found."""
    monkeypatch.setattr(leading, "FEW", 3000 if request.param == "few" else -1)
    monkeypatch.setattr(leading, "MANY", 50_000 if request.param == "table" else -1)


FILTERS = ["val/accuracy > 0.9", "val/accuracy = 0.5", "val/accuracy < 0.3 and batch_size > 20"]
FILTERS += ["val/accuracy > 2", "val/accuracy in (0.5, 0.25)", "val/accuracy != 0.5"]


@pytest.mark.usefixtures("found_by")
@pytest.mark.parametrize("where", FILTERS)
@pytest.mark.parametrize("sort", ["-created_at", "batch_size", "-val/accuracy"])
def test_a_filter_by_a_metric_finds_what_the_whole_list_has(
    many: Database, where: str, sort: str
) -> None:
    # the other half of the `or` matches nothing, and keeps the index from being used
    slowly = JobFilters(where=f"{where} or owner = nobody")
    expected = all_jobs(many, slowly, sort, 1000)
    assert all_jobs(many, JobFilters(where=where), sort, 50) == expected
    assert expected  # more than 2 is infinite


@pytest.mark.parametrize("filters", [JobFilters(), JobFilters(where="batch_size > 60")])
@pytest.mark.parametrize("sort", ["val/accuracy", "-val/accuracy"])
def test_the_pages_by_a_metric_are_the_whole_list_with_missing_values_last(
    many: Database, sort: str, filters: JobFilters
) -> None:
    turn = -1 if sort.startswith("-") else 1
    jobs = listing.list_jobs(many, filters, limit=1000).jobs
    cursor = listing.list_jobs(many, filters, limit=1000).next_cursor
    while cursor is not None:
        page = listing.list_jobs(many, filters, cursor=cursor, limit=1000)
        jobs, cursor = [*jobs, *page.jobs], page.next_cursor
    known = {job.id: value_of(job) for job in jobs}
    by_id = sorted(known, reverse=turn < 0)
    missing = math.inf

    def place(job: str) -> float:
        value = known[job]
        return missing if value is None else turn * value

    assert all_jobs(many, filters, sort, 90) == sorted(by_id, key=place)
    assert None in known.values()


def test_a_page_of_the_best_does_not_read_the_values_of_all_jobs(many: Database) -> None:
    read = text("select seq_tup_read from pg_stat_user_tables where relname = 'metric_last'")

    def rows_read() -> int:
        with many.autocommit() as connection:
            connection.execute(text("select pg_stat_force_next_flush()"))
        with many.autocommit() as connection:
            return int(connection.execute(read).scalar_one())

    before = rows_read()
    page = listing.list_jobs(many, JobFilters(), "-val/accuracy", limit=10)
    assert len(page.jobs) == 10
    assert rows_read() == before
