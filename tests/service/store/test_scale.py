"""What is asked all the time does not read the jobs that ended long ago."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import text

from normlab.events import ArtifactWritten, Finished
from service.jobs import allowances, gauges, leases, tallies, workers
from service.jobs.doorbell import SilentDoorbell
from service.jobs.listing import JobFilters, list_jobs
from service.jobs.reaper import Reaper
from service.jobs.relay import Relay
from service.results import reports
from service.results.compaction import Compactor
from service.store.database import Database
from tests.many_jobs import fill
from tests.service.work import claim, submit

JOBS = 4000
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


@contextmanager
def _counting_elsewhere(database: Database, database_url: str) -> Iterator[Database]:
    """Open a database whose connection adds to other rows; it is by chance 1 of 256 the same."""
    with ExitStack() as stack:
        while True:
            other = Database(database_url, pool_size=1, statement_s=10)
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
    with Database(database_url, statement_s=10) as other, database.begin() as connection:
        connection.execute(text("update turn set served_at = clock_timestamp()"))
        assert claim(other).attempt == 1
