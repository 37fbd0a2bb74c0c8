"""A large study is accepted as a whole, and its requests are carried out slice by slice."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import text

from normlab.errors import Conflict, QuotaExceeded
from normlab.events import Finished
from normlab.records import StudyRecord
from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec
from service.jobs import changes, leases, listing, submissions
from service.jobs.job_filters import JobFilters
from service.jobs.placement import PlaceOf
from service.store.database import Database
from service.studies import changes as study_changes, details, slices, studies
from service.studies.listing import list_studies
from service.studies.moves import SLICE
from service.studies.queueing import queue_slice
from service.studies.slices import Slices
from tests.service.work import at_once, claim, spec

MANY = 2 * SLICE + 50


@pytest.fixture(autouse=True)
def _rounds_without_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a round do everything, even on a slow machine."""
    monkeypatch.setattr(slices, "_ROUND_S", math.inf)


def place(_: JobSpec) -> tuple[str, str]:
    return "cpu", "the only device of this test"


def grid(cells: int, name: str = "large", epochs: int = 5) -> StudySpec:
    base = {"normalizer": "batch", "epochs": epochs}
    return StudySpec(name=name, base=base, seeds=tuple(range(cells)))


def study(
    database: Database, cells: int = MANY, name: str = "large", most: int | None = None, **base: int
) -> StudyRecord:
    wanted = grid(cells, name, **base)
    return studies.create(
        database, wanted, owner="ada", place=place, check=lambda _: [], max_queued=most
    )[0]


def slicer(database: Database, place: PlaceOf = place) -> Slices:
    return Slices(database, lambda: place, lambda _: [])


def submit(database: Database, most: int) -> None:
    submissions.submit(
        database, spec(), owner="ada", device="cpu", device_reason="", max_queued=most
    )


def test_a_large_study_is_accepted_whole_and_queued_slice_by_slice(database: Database) -> None:
    record = study(database)
    assert record.state == "queueing"
    assert record.counts == {"queued": SLICE, "planned": MANY - SLICE}
    assert slicer(database).round() == MANY - SLICE
    after = details.get(database, record.id)
    assert (after.state, after.counts) == ("active", {"queued": MANY})
    assert slicer(database).round() == 0
    assert after.grid == details.list_cells(database, record.id).cells
    assert [cell.seed for cell in after.grid] == list(range(MANY))
    assert len({cell.job for cell in after.grid}) == MANY


def test_queueing_goes_on_where_a_killed_process_left_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = study(database)
    monkeypatch.setattr(slices, "_ROUND_S", -1.0)  # one slice per round
    done = [slicer(database).round() for _ in range(3)]  # each of them knows nothing of the others
    assert done == [SLICE, MANY - 2 * SLICE, 0]
    assert details.get(database, record.id).counts == {"queued": MANY}


def test_what_is_planned_counts_to_the_limit(database: Database) -> None:
    study(database, most=MANY)
    with pytest.raises(QuotaExceeded, match=f"{MANY} jobs queued"):
        study(database, 1, "another", most=MANY)
    with pytest.raises(QuotaExceeded):
        submit(database, MANY)
    slicer(database).round()
    with pytest.raises(QuotaExceeded):
        submit(database, MANY)
    submit(database, MANY + 1)


def test_of_large_studies_at_once_only_those_that_fit_are_accepted(database: Database) -> None:
    made = [partial(study, database, MANY, f"s{i}", 2 * MANY) for i in range(4)]
    assert at_once(*made) == 2
    slicer(database).round()
    assert len(list_studies(database).studies) == 2


def test_nobody_waits_for_a_slice_that_is_being_queued(database: Database) -> None:
    record = study(database, most=10_000)
    with database.begin() as connection, ThreadPoolExecutor(1) as other:
        row = connection.execute(text("select * from study")).one()
        assert queue_slice(connection, row, place) == SLICE
        other.submit(submit, database, 10_000).result(timeout=120)
    assert details.get(database, record.id).counts["queued"] == 2 * SLICE


def test_no_cell_starts_after_a_study_was_cancelled(database: Database) -> None:
    record = study(database)
    running = claim(database)
    cancelled = studies.cancel(database, record.id)
    assert cancelled.state == "cancelled"  # the others were planned, and now never will be queued
    assert cancelled.counts == {"cancelled": SLICE - 1, "running": 1, "missing": MANY - SLICE}
    assert leases.claim(database, "cpu", "w", 30) is None
    renewed = leases.renew(database, running, 30)
    assert renewed is not None
    assert renewed.cancel_requested


def test_a_large_study_is_cancelled_at_once_and_its_jobs_slice_by_slice(
    database: Database,
) -> None:
    record = study(database)
    slicer(database).round()
    first = studies.cancel(database, record.id)
    assert first.state == "cancelling"
    assert first.counts == {"cancelled": SLICE, "queued": MANY - SLICE}
    assert leases.claim(database, "cpu", "w", 30) is None
    waiting = listing.list_jobs(database, JobFilters(state=("queued",)), limit=1).jobs[0]
    assert "being cancelled" in str(waiting.waiting_for)
    assert slicer(database).round() == MANY - SLICE
    after = details.get(database, record.id)
    assert (after.state, after.counts) == ("cancelled", {"cancelled": MANY})


def test_a_large_study_is_completed_slice_by_slice_and_each_job_once(database: Database) -> None:
    record = study(database)
    done = claim(database)
    leases.finish(database, done, Finished(step=1, summary={}))
    studies.cancel(database, record.id)
    again = studies.complete(database, record.id, place=place)
    assert again.state == "queueing"
    assert again.counts == {"succeeded": 1, "queued": SLICE, "planned": MANY - 1 - SLICE}
    stopped = str(listing.list_jobs(database, JobFilters(state=("queued",)), limit=1).jobs[0].id)
    changes.cancel(database, stopped)
    slicer(database).round()
    counts = details.get(database, record.id).counts
    assert counts == {"succeeded": 1, "cancelled": 1, "queued": MANY - 2}


def test_completion_is_held_to_the_limit_with_what_it_plans(database: Database) -> None:
    record = study(database)
    studies.cancel(database, record.id)
    with pytest.raises(QuotaExceeded):
        studies.complete(database, record.id, place=place, max_queued=MANY - 1)
    assert details.get(database, record.id).state == "cancelled"
    studies.complete(database, record.id, place=place, max_queued=MANY)


def test_completion_takes_back_a_cancellation_that_is_under_way(database: Database) -> None:
    record = study(database)
    slicer(database).round()
    studies.cancel(database, record.id)
    studies.complete(database, record.id, place=place)
    slicer(database).round()
    assert details.get(database, record.id).counts == {"queued": MANY}


def test_a_new_priority_reaches_every_queued_job(database: Database) -> None:
    record = study(database)
    study_changes.set_priority(database, record.id, 7)
    while slicer(database).round():
        pass
    jobs = listing.list_jobs(database, JobFilters(study=record.id), limit=1000).jobs
    assert [job.priority for job in jobs] == [7] * MANY


def test_a_paused_study_is_queued_and_waits(database: Database) -> None:
    record = study(database)
    studies.pause(database, record.id)
    slicer(database).round()
    paused = details.get(database, record.id)
    assert (paused.state, paused.counts) == ("paused", {"queued": MANY})
    assert leases.claim(database, "cpu", "w", 30) is None


def test_a_study_does_not_grow_while_it_is_being_queued(database: Database) -> None:
    record = study(database)
    larger = grid(MANY + 1)
    grow = partial(
        studies.extend, database, record.id, larger, owner="ada", place=place, check=lambda _: []
    )
    with pytest.raises(Conflict, match=f"{MANY - SLICE} cells .* still being queued"):
        grow()
    slicer(database).round()
    assert grow().counts == {"queued": MANY + 1}


def test_a_study_that_cannot_be_queued_fails_by_itself_with_its_reason(database: Database) -> None:
    bad, good = study(database, name="bad"), study(database, name="good")
    with database.begin() as connection:
        broken = text("update study set spec = spec || '{\"base\": {}}' where id = :study")
        connection.execute(broken, {"study": bad.id})
    slicer(database).round()
    found = details.get(database, bad.id)
    assert found.state == "failed"
    assert "normalizer" in str(found.reason)
    assert details.get(database, good.id).counts == {"queued": MANY}
    submit(database, MANY + SLICE + 1)  # planned cells no longer count


def test_a_study_whose_cells_are_no_longer_its_own_says_so(database: Database) -> None:
    record = study(database)
    with database.begin() as connection:
        other = '{"base": {"normalizer": "layer"}}'
        connection.execute(text(f"update study set spec = spec || '{other}'"))
    slicer(database).round()
    assert "planned with another base" in str(details.get(database, record.id).reason)


def test_a_round_that_fails_stops_no_other_study_and_is_tried_again(database: Database) -> None:
    bad, good = study(database, name="bad", epochs=9), study(database, name="good")

    def broken(job: JobSpec) -> tuple[str, str]:
        if job.epochs == 9:
            raise RuntimeError("a defect")
        return place(job)

    slicer(database, broken).round()
    first = details.get(database, bad.id)
    assert first.counts == {"queued": SLICE, "planned": MANY - SLICE}
    assert "a round of the study failed (RuntimeError: a defect)" in str(first.reason)
    assert details.get(database, good.id).counts == {"queued": MANY}
    slicer(database).round()
    later = details.get(database, bad.id)
    assert (later.reason, later.counts) == (None, {"queued": MANY})


def test_cells_come_in_pages(database: Database) -> None:
    record = study(database)
    cells, cursor = [], None
    while True:
        page = details.list_cells(database, record.id, cursor, 200)
        cells += page.cells
        cursor = page.next_cursor
        if cursor is None:
            break
        assert len(page.cells) == 200
    assert [cell.seed for cell in cells] == list(range(MANY))
    first = details.get(database, record.id, 10)
    assert (len(first.grid), first.cells) == (10, MANY)
    assert details.list_cells(database, record.id, first.next_cursor, 1).cells == [cells[10]]
