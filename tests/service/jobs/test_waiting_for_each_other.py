"""Requests that add to the same queue wait for each other, and never in a circle."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from normlab.plugins.descriptions import PluginDescription
from normlab.plugins.loading import load
from normlab.specs import registries
from normlab.specs.studies import StudySpec
from service.jobs import submissions
from service.plugins import store
from service.store.database import Database
from service.studies import studies
from tests.normlab.plugins.authors import mine
from tests.service.work import spec, submit

pytestmark = pytest.mark.usefixtures("no_plugins")
KEY = "the same"
_WAITS = """
    select count(*) from pg_stat_activity where datname = current_database()
        and pid <> pg_backend_pid() and wait_event_type = 'Lock' and wait_event = %s
"""


def uploaded(database: Database, folder: Path) -> None:
    """Keep code that every job may use, and no project has used yet."""
    registries.put_in_force([load(mine().written_below(folder), "my_norms.py").plugin()])
    described = PluginDescription(digest=mine().digest, name="my_norms.py", entries=[])
    with database.begin() as connection:
        store.keep(connection, mine(), described, owner="ada", origin={})


@contextmanager
def with_the_same_key(url: str) -> Iterator[None]:
    """Hold an open transaction with a job of the key: adding another one waits for its end."""
    with psycopg.connect(url) as holder:
        holder.execute("create temporary table copy on commit drop as table job")
        holder.execute("update copy set id = gen_random_uuid(), idempotency_key = %s", (KEY,))
        holder.execute("insert into job table copy")
        yield
        holder.rollback()


def until(url: str, event: str, count: int = 1) -> None:
    """Wait until so many sessions of the database wait for a lock of this kind."""
    with psycopg.connect(url, autocommit=True) as watcher:
        while watcher.execute(_WAITS, (event,)).fetchone() != (count,):
            time.sleep(0.01)


def test_a_job_and_a_study_that_use_the_same_code_for_the_first_time_are_both_added(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    submit(database)
    uploaded(database, tmp_path)
    where: dict[str, Any] = {"owner": "ada", "max_queued": 20_000}

    def a_job() -> bool:
        wanted = spec(normalizer="dyt_of_mine")
        placed = {"device": "cpu", "device_reason": "", "idempotency_key": KEY}
        return submissions.submit(database, wanted, **where, **placed)[1]

    def a_study() -> bool:
        wanted = StudySpec(name="s", base={"normalizer": "dyt_of_mine"}, seeds=(0,))
        placed = {"place": lambda _: ("cpu", ""), "check": lambda _: []}
        return studies.create(database, wanted, **where, **placed)[1]

    with ThreadPoolExecutor(2) as threads:
        with with_the_same_key(database_url):
            job = threads.submit(a_job)
            until(database_url, "transactionid")  # it has the lock of the queue
            study = threads.submit(a_study)
            until(database_url, "advisory")
        assert (job.result(), study.result()) == (True, True)  # neither of them resolves a deadlock
