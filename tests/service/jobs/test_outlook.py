"""The outlook of a job: its time, its place in the queue, and what would change it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from normlab.errors import NotFound
from normlab.events import Finished, Progress, Started
from service.jobs import leases, workers
from service.jobs.outlook import outlook
from service.results import reports
from service.store.database import Database
from tests.service.work import claim, submit


def beat(database: Database, **changes: Any) -> None:
    facts: dict[str, Any] = {"worker": "w", "device": "cpu", "hostname": "h", "slots": 1,
        "busy": 0, "description": "8 cores", "memory_bytes": None, "versions": {}}  # fmt: skip
    workers.beat(database, silence_s=60, **{**facts, **changes})


def test_a_running_jobs_time_follows_from_its_pace(database: Database) -> None:
    job = submit(database)
    held = claim(database)
    assert reports.keep_all(database, held, [Started(step=0, environment={})])
    assert outlook(database, job.id).left_s is None
    time.sleep(0.2)
    told = [Progress(step=10, steps=100, epoch=1, epochs=10)]
    assert reports.keep_all(database, held, told)
    found = outlook(database, job.id)
    assert found.left_s is not None
    assert found.left_s >= 9 * 0.2
    assert found.left.endswith("at its pace so far")
    leases.finish(database, held, Finished(step=100, summary={}))
    ended = outlook(database, job.id)
    assert (ended.left_s, ended.ahead, ended.changes) == (None, None, [])


def test_the_place_in_the_queue_counts_higher_priorities_and_older_jobs(
    database: Database,
) -> None:
    beat(database)
    first = submit(database)
    urgent = submit(database, priority=7)
    last = submit(database)
    submit(database, device="cuda")
    assert [outlook(database, job.id).ahead for job in (urgent, first, last)] == [0, 1, 2]
    (said,) = outlook(database, last.id).changes
    assert said.startswith("its priority was 8, above those of the jobs ahead")
    assert outlook(database, urgent.id).changes == []


def test_without_a_worker_the_command_that_starts_one_is_told(database: Database) -> None:
    (said,) = outlook(database, submit(database, device="cuda").id).changes
    assert said == "a worker for cuda starts: `python -m workers --device cuda`"


def test_where_all_slots_are_taken_more_of_them_would_help(database: Database) -> None:
    submit(database)
    claim(database)
    beat(database, busy=1)
    (said,) = outlook(database, submit(database).id).changes
    assert said.startswith("one of the 1 running jobs ends, or a worker with more than the 1 slot")


def test_an_unknown_job_has_no_outlook(database: Database) -> None:
    with pytest.raises(NotFound):
        outlook(database, "00000000-0000-7000-8000-000000000000")
