from __future__ import annotations

import threading

import psycopg
import pytest

from normlab.errors import ServiceUnavailable
from service.loops import Loop
from service.store.database import Database
from service.store.events import CHANNEL
from tests.service.work import submit


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
    assert done.wait(10)
    loop.stop()
    assert not loop.is_alive()


def test_a_loop_stops_at_once_even_during_a_long_wait() -> None:
    worked = threading.Event()
    loop = Loop("test", worked.set, 3600)
    loop.start()
    assert worked.wait(10)
    loop.stop()
    assert not loop.is_alive()


def test_a_change_wakes_the_listeners_and_names_the_job(database: Database) -> None:
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        connection.execute(f"listen {CHANNEL}")
        job = submit(database)
        notices = list(connection.notifies(timeout=10, stop_after=1))
    assert [notice.payload for notice in notices] == [job.id]
