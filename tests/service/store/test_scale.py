"""Frequent queries do not read jobs that ended long ago."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import Connection, Engine, event, text

from normlab.events import ArtifactWritten, Finished
from normlab.records.tables import TableQuestion
from service.jobs import allowances, gauges, leases, table, tallies, workers
from service.jobs.doorbell import Relay, SilentDoorbell
from service.jobs.job_filters import JobFilters
from service.jobs.listing import list_jobs
from service.jobs.reaper import Reaper
from service.results import reports
from service.results.compaction import Compactor
from service.store.database import Database, cursor_of
from tests.many_jobs import fill
from tests.service.work import claim, submit

JOBS = 4000
A_TABLE = TableQuestion(columns=["name", "val/accuracy:best"], limit=20, count=True)
Asked = Callable[[Database], object]


@pytest.fixture
def alone(database_url: str) -> Iterator[Database]:
    """A database on one connection, whose own statistics can be written at once."""
    with Database(database_url, pool_size=1) as opened:
        fill(opened, JOBS)
        with opened.autocommit() as connection:
            connection.execute(text("vacuum analyze job"))
        yield opened


def rows_read(database: Database) -> int:
    """Count the rows of jobs that scans of the whole table have read so far."""
    with database.autocommit() as connection:
        connection.execute(text("select pg_stat_force_next_flush()"))
    with database.autocommit() as connection:
        read = text("select seq_tup_read from pg_stat_user_tables where relname = 'job'")
        return int(connection.execute(read).scalar_one())


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(list_jobs, id="list"),
        pytest.param(lambda d: list_jobs(d, JobFilters(state=("queued",))), id="queued"),
        pytest.param(workers.devices, id="devices"),
        pytest.param(gauges.by_device, id="gauges"),
        pytest.param(lambda d: Compactor(d).round(), id="compactor"),
        pytest.param(lambda d: Relay(d, SilentDoorbell(), 0.0).round(), id="relay"),
        pytest.param(lambda d: Reaper(d, 0.0).round(), id="reaper"),
    ],
)
def test_a_question_that_is_asked_all_the_time_does_not_read_every_job(
    asked: Asked, alone: Database
) -> None:
    before = rows_read(alone)
    asked(alone)
    assert rows_read(alone) - before < JOBS


def test_the_jobs_of_a_table_are_counted_by_an_index_where_scans_are_dear(alone: Database) -> None:
    with alone.autocommit() as connection:  # a table this small is read as fast as its index
        connection.execute(text("set enable_seqscan = off"))
    before = rows_read(alone)
    table.read(alone, A_TABLE)
    assert rows_read(alone) - before < JOBS


def plan_of(database: Database, where: str) -> str:
    """Return PostgreSQL's plan for the list of the jobs that match *where*."""
    seen: list[str] = []

    def explain(
        connection: Connection, _: object, statement: str, values: object, *__: object
    ) -> None:
        if "sorted_by" in statement and not seen:
            cursor = cursor_of(connection).connection.cursor()
            rows = cursor.execute(f"explain {statement}", values).fetchall()
            seen.extend(line for (line,) in rows)

    event.listen(Engine, "before_cursor_execute", explain)
    try:
        list_jobs(database, JobFilters(where=where))
    finally:
        event.remove(Engine, "before_cursor_execute", explain)
    return "\n".join(seen)


A_STUDY = "0197b2a4-0000-7000-8000-000000000000"


@pytest.mark.parametrize(("where", "index"), [
    ("seed = 1717", "job_by_seed"),
    ("seed in (1717, 18)", "job_by_seed"),
    ("normalizer = batch and seed = 1717 and batch_size < 99", "job_by_seed"),
    ("name = 'job 1717'", "job_by_name"),
    ("name in ('job 1717', 'job 18')", "job_by_name"),
    (f"id = {A_STUDY}", "job_pkey"),
    (f"study = {A_STUDY}", "job_once_per_cell"),
])  # fmt: skip
def test_a_filter_that_few_jobs_match_does_not_read_the_others(
    alone: Database, where: str, index: str
) -> None:
    plan = plan_of(alone, where)
    assert index in plan, plan
    assert "Seq Scan on job " not in plan, plan


def test_a_page_of_a_name_that_many_jobs_have_is_filled_from_the_newest(alone: Database) -> None:
    plan = plan_of(alone, "name ~ 'job'")
    assert "job_by_age" in plan, plan
    assert "Seq Scan on job " not in plan, plan


def test_a_filter_finds_the_same_by_an_index_and_without(alone: Database) -> None:
    def found(where: str) -> list[str]:
        return sorted(job.id for job in list_jobs(alone, JobFilters(where=where)).jobs)

    (one,) = found("seed = 1717")
    assert found("seed = 1717.0") == found("seed >= 1717 and seed <= 1717") == [one]
    assert found("seed in (1717, 1717.5, 3000000000)") == [one]
    assert found("name = 'job 1717'") == found("name ~ 'JOB 1717'") == [one]
    assert found(f"id = {one}") == found(f"not id != {one}") == [one]
    assert found(f"id in ({one}, nothing)") == [one]
    assert found("name = 'no job'") == found("seed = -1") == found(f"study = {A_STUDY}") == []
    assert len(found("not name = 'job 1717' and seed < 50")) == 50


@contextmanager
def _counting_elsewhere(database: Database, database_url: str) -> Iterator[Database]:
    """Open a database whose connection adds to other rows; it is by chance 1 of 256 the same."""
    with ExitStack() as stack:
        while True:
            other = Database(database_url, pool_size=1, statement_s=60)
            stack.callback(other.close)
            if _row_of(other) != _row_of(database):
                yield other
                return


def _row_of(database: Database) -> int:
    with database.autocommit() as connection:
        return int(connection.execute(text(f"select {tallies.SHARD}")).scalar_one())


def test_workers_that_end_jobs_at_the_same_time_do_not_wait_for_each_other(
    database: Database, database_url: str
) -> None:
    claims = []
    for _ in range(2):  # of the same owner, in the same project
        submit(database)
        claims.append(claim(database))
        keep_a_file(database, claims[-1])
    with _counting_elsewhere(database, database_url) as other, database.begin() as connection:
        assert leases.hold(connection, claims[0])
        assert leases.give_back(connection, claims[0].job, claims[0].attempt, "it leaves")
        # its transaction is still open, and the other one ends all the same
        assert leases.finish(other, claims[1], Finished(step=1, summary={}))
    counted = [tally.n for tally in tallies.read_all(database) if tally.name == "attempt"]
    assert counted == [1, 1]
    used = {one.what: one.used for one in allowances.read(database, "owner", "ada")}
    assert used["storage_bytes"] == 200
    assert rows_of(database, "storage") == rows_of(database, "device_time") == 2


def keep_a_file(database: Database, mine: leases.Lease) -> None:
    file = ArtifactWritten(name="a.csv", path=f"/jobs/{mine.job}/a.csv", sha256="0" * 64, bytes=100)
    assert reports.keep_all(database, mine, [file])


def rows_of(database: Database, table: str) -> int:
    with database.autocommit() as connection:
        return int(connection.execute(text(f"select count(*) from {table}")).scalar_one())


def test_a_claim_does_not_wait_for_another_one_of_the_same_owner(
    database: Database, database_url: str
) -> None:
    submit(database)
    with Database(database_url, statement_s=60) as other, database.begin() as connection:
        connection.execute(text("update turn set served_at = clock_timestamp()"))
        assert claim(other).attempt == 1
