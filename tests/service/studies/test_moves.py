"""All jobs of a study change state in a few statements, with the same result as one by one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import event

from normlab.records import StudyRecord
from normlab.specs.studies import StudySpec
from service.jobs import leases, reading
from service.store import events
from service.store.database import Database
from service.studies import details, studies
from tests.service.work import claim


def study(database: Database, cells: int) -> StudyRecord:
    spec = StudySpec(name=f"{cells}", base={"normalizer": "batch"}, seeds=tuple(range(cells)))
    return studies.create(database, spec, owner="ada", place=place, check=lambda _: [])[0]


def statements(database: Database, work: Callable[[], object]) -> int:
    seen: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    work()
    event.remove(database.engine, "before_cursor_execute", note)
    return len(seen)


def place(_: object) -> tuple[str, str]:
    return "cpu", ""


complete = partial(studies.complete, place=place)


@pytest.mark.parametrize("verb", [studies.cancel, complete, studies.pause])
def test_a_large_study_takes_no_more_statements_than_a_small_one(
    database: Database, verb: Callable[[Database, str], object]
) -> None:
    counts = []
    for cells in (1, 300):
        record = study(database, cells)
        if verb is complete:
            studies.cancel(database, record.id)
        counts.append(statements(database, partial(verb, database, record.id)))
    assert counts[0] == counts[1]


def test_each_job_of_a_cancelled_study_has_its_event_as_if_cancelled_alone(
    database: Database,
) -> None:
    record = study(database, 3)
    running = claim(database)
    studies.cancel(database, record.id)
    queued = [c.job for c in details.get(database, record.id).grid if c.state == "cancelled"]
    last = [events.since(database, job)[-1] for job in queued if job]
    assert [(e.kind, e.payload) for e in last] == [
        ("cancelled", {"attempt": 0, "cause": "requested"})
    ] * 2
    assert events.since(database, str(running.job))[-1].kind == "cancel_requested"
    renewal = leases.renew(database, running, 30)
    assert renewal is not None
    assert renewal.cancel_requested


def test_a_completed_job_starts_with_all_its_attempts_as_if_retried_alone(
    database: Database,
) -> None:
    record = study(database, 1)
    held = claim(database)
    studies.cancel(database, record.id)
    leases.release(database, held)
    studies.complete(database, record.id, place=place)
    again = reading.get(database, str(held.job))
    assert (again.state, again.worker, again.finished_at) == ("queued", None, None)
    assert events.since(database, again.id)[-1].payload == {"attempt": 1, "cause": "retry"}
    assert claim(database).attempt == 2
