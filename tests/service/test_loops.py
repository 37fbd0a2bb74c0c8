from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import structlog
from sqlalchemy import text

from normlab.errors import ServiceUnavailable
from service.jobs import gauges
from service.loops import Loop
from service.store.database import Database
from service.store.events import CHANNEL
from tests.service.work import submit

INTERVAL_S = 0.02


@pytest.mark.parametrize("trouble", [ServiceUnavailable("away"), RuntimeError("a defect")])
def test_a_loop_continues_after_a_failed_round(trouble: Exception) -> None:
    rounds = 0
    done = threading.Event()

    def work() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise trouble
        done.set()

    loop = Loop("test", work, 0.001)
    loop.start()
    assert done.wait(60)
    loop.stop()
    assert not loop.is_alive()


class Rounds:
    """A loop whose rounds read the table of jobs, what it logs, and when it tries."""

    def __init__(self, database: Database, log: list[Any]) -> None:
        self._database = database
        self._log = log
        self.began: list[float] = []
        self.well = threading.Event()
        self.loop = Loop("test", self._round, INTERVAL_S)

    def _round(self) -> None:
        self.began.append(time.monotonic())
        gauges.by_state(self._database)
        self.well.set()

    def recovers(self) -> bool:
        self.well.clear()
        return self.well.wait(60)

    def hurries(self, after: int) -> None:
        """Wait until it has paused, after so many rounds, as if it had never doubled its pause."""
        deadline = time.monotonic() + 60
        while min(self.gaps()[after:], default=60.0) >= INTERVAL_S * 2**5:
            assert time.monotonic() < deadline, self.gaps()
            time.sleep(0.005)

    def gaps(self) -> list[float]:
        return [after - before for before, after in itertools.pairwise(self.began)]

    def logged(self, event: str, times: int) -> list[Any]:
        """Wait until it has logged *event* so often; return all of these."""
        deadline = time.monotonic() + 60
        while len(found := [entry for entry in self._log if entry["event"] == event]) < times:
            assert time.monotonic() < deadline, self._log
            time.sleep(0.005)
        return found


@pytest.fixture
def rounds(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rounds]:
    monkeypatch.setattr("service.loops._log", structlog.get_logger("loops of a test"))
    with structlog.testing.capture_logs() as log:
        found = Rounds(database, log)
        found.loop.start()
        yield found
        found.loop.stop()


def change(database: Database, statement: str) -> None:
    with database.autocommit() as connection:
        connection.execute(text(statement))


def test_a_loop_with_a_broken_database_tries_ever_more_rarely_and_recovers(
    database: Database, rounds: Rounds
) -> None:
    assert rounds.recovers()
    change(database, "alter table job_count rename to away")
    pauses = [failed["again_in_s"] for failed in rounds.logged("loop_failed", 5)[:5]]
    assert pauses == [INTERVAL_S * 2**times for times in range(1, 6)]
    assert max(rounds.gaps()) >= pauses[-2]
    change(database, "alter table away rename to job_count")
    assert rounds.recovers()
    before = len(rounds.logged("loop_failed", 5))
    change(database, "alter table job_count rename to away")
    later = [failed["again_in_s"] for failed in rounds.logged("loop_failed", before + 2)]
    assert INTERVAL_S * 2 in later[before:]  # it started again


def test_a_loop_whose_database_is_away_tries_as_often_as_ever_and_recovers(
    database: Database, rounds: Rounds
) -> None:
    assert rounds.recovers()
    name = database.engine.url.database
    with psycopg.connect(elsewhere(database), autocommit=True) as server:
        server.execute(f"alter database {name} allow_connections false")
        server.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s",
            [name],
        )
        before = len(rounds.began)
        waits = rounds.logged("loop_waits", 10)
        rounds.hurries(before + 6)  # had it doubled, no later pause would be so short
        assert "the database does not answer" in waits[0]["reason"]
        server.execute(f"alter database {name} allow_connections true")
    assert rounds.recovers()


def elsewhere(database: Database) -> str:
    """The URL of another database on the same server, while nobody may connect to *database*."""
    other = database.url.set(drivername="postgresql", database="postgres")
    return other.render_as_string(hide_password=False)


def test_a_loop_stops_at_once_even_during_a_long_wait() -> None:
    worked = threading.Event()
    loop = Loop("test", worked.set, 3600)
    loop.start()
    assert worked.wait(60)
    loop.stop()
    assert not loop.is_alive()


def test_a_change_wakes_the_listeners_and_names_the_job(database: Database) -> None:
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        connection.execute(f"listen {CHANNEL}")
        job = submit(database)
        notices = list(connection.notifies(timeout=60, stop_after=1))
    assert [notice.payload for notice in notices] == [job.id]
