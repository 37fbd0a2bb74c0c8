from __future__ import annotations

import itertools
import math
import threading
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import text

from normlab.events import Failed, Finished, Metrics, Series
from service.jobs import changes, leases
from service.jobs.leases import Lease
from service.results import reports
from service.results.chunks import Columns
from service.results.compaction import Compactor, compact
from service.store import places
from service.store.database import Database
from service.store.places import LastExamined
from tests.service.work import claim, series, stored, submit


def _report(database: Database, held: Lease, first: int, last: int) -> None:
    steps = list(range(first, last))
    values = [math.nan if step % 50 == 0 else math.sin(step) for step in steps]
    times = [1.7e9 + step / 8 for step in steps]
    said = {"train/loss": Series(steps=steps, values=values, times=times)}
    assert reports.keep_all(database, held, [Metrics(series=said)])


def _ended(database: Database, points: int = 10_000, a_chunk: int = 100) -> str:
    job = submit(database)
    held = claim(database)
    for first in range(1, points + 1, a_chunk):
        _report(database, held, first, first + a_chunk)
    leases.finish(database, held, Finished(step=points, summary={}))
    return job.id


def _chunks(database: Database) -> list[int]:
    with database.autocommit() as connection:
        found = connection.execute(text("select n from metric_chunk order by attempt, step0"))
        return list(found.scalars())


def _same(before: Columns, after: Columns) -> None:
    np.testing.assert_array_equal(after.steps, before.steps)
    np.testing.assert_array_equal(after.values, before.values)
    np.testing.assert_allclose(after.times, before.times, rtol=0, atol=1e-4)


def test_small_chunks_are_merged_and_the_points_stay(database: Database) -> None:
    job = _ended(database)
    before = stored(database, job, "train/loss")
    assert compact(database, UUID(job)) == 1
    assert _chunks(database) == [4096, 4096, 1808]
    _same(before, stored(database, job, "train/loss"))
    _same(before.within(5000, 6000), stored(database, job, "train/loss", 5000, 6000))


def test_compact_chunks_are_not_written_again(database: Database) -> None:
    job = UUID(_ended(database, 500))
    assert [compact(database, job), compact(database, job)] == [1, 0]
    assert _chunks(database) == [500]


def test_attempts_stay_separate_so_abandoned_points_stay_abandoned(database: Database) -> None:
    job = submit(database, max_attempts=2)
    for failure in ("lost", None):
        held = claim(database)
        for first in (1, 11, 21):
            _report(database, held, first, first + 10)
        if failure:
            lost = Failed(code="x", failure_kind="lost", retryable=True, message="gone")
            leases.fail(database, held, lost)
        else:
            leases.finish(database, held, Finished(step=30, summary={}))
    before = stored(database, job.id, "train/loss")
    assert compact(database, UUID(job.id)) == 2
    assert _chunks(database) == [30, 30]
    _same(before, stored(database, job.id, "train/loss"))


def test_a_running_job_is_left_alone_and_keeps_reporting(database: Database) -> None:
    submit(database)
    held = claim(database)
    for first in (1, 11):
        _report(database, held, first, first + 10)
    assert compact(database, held.job) == 0
    _report(database, held, 21, 31)
    assert _chunks(database) == [10, 10, 10]


def test_a_retried_job_keeps_all_its_points(database: Database) -> None:
    job = submit(database, max_attempts=1)
    held = claim(database)
    for first in (1, 11):
        _report(database, held, first, first + 10)
    oom = Failed(code="oom", failure_kind="oom", retryable=False, message="does not fit")
    leases.fail(database, held, oom)
    assert compact(database, held.job) == 1
    changes.retry(database, job.id)
    assert compact(database, held.job) == 0
    _report(database, claim(database), 21, 31)
    assert stored(database, job.id, "train/loss").steps.tolist() == list(range(1, 31))


def test_several_compactors_at_once_change_nothing_but_the_chunks(database: Database) -> None:
    job = _ended(database, 2000, a_chunk=20)
    before = stored(database, job, "train/loss")
    rounds = [threading.Thread(target=compact, args=(database, UUID(job))) for _ in range(4)]
    for round_ in rounds:
        round_.start()
    for round_ in rounds:
        round_.join()
    assert _chunks(database) == [2000]
    _same(before, stored(database, job, "train/loss"))


def test_a_locked_job_is_skipped(database: Database) -> None:
    job = _ended(database, 200)
    with database.begin() as other:
        other.execute(text("select 1 from job for update"))
        assert compact(database, UUID(job)) == 0
    assert compact(database, UUID(job)) == 1


def test_a_compactor_checks_every_ended_job_once(database: Database) -> None:
    for _ in range(2):
        _ended(database, 200)
    submit(database)
    held = claim(database)
    reports.keep_all(database, held, [Metrics(series={"train/loss": series(1)})])
    compactor = Compactor(database, settled_s=0)
    assert [compactor.round(), compactor.round()] == [2, 0]
    leases.finish(database, held, Finished(step=1, summary={}))
    _ended(database, 200)
    assert compactor.round() == 1


_COMPACT_ALREADY = text("""
    insert into job (id, owner, name, request_hash, spec, fingerprint, normalizer, proxy, model,
        dataset, batch_size, samples_per_update, seed, device, device_reason, priority,
        max_attempts, state, epochs, finished_at)
    select md5(i::text)::uuid, 'bob', 'job ' || i, 'h', spec, md5(i::text), normalizer, proxy,
        model, dataset, 8, 8, i, device, 'made by a test', 0, 3, 'succeeded', epochs,
        clock_timestamp() - interval '1 day' + i * interval '1 second'
    from job, generate_series(1, 120) as i where owner = 'ada'
""")


def test_jobs_that_are_compact_already_are_passed_over_in_one_round(database: Database) -> None:
    _ended(database, points=1000)
    with database.begin() as connection:
        connection.execute(_COMPACT_ALREADY)
    in_time = Compactor(database, settled_s=0.0, clock=lambda: 0.0)
    assert in_time.round() == 1
    assert _chunks(database) == [1000]


def test_a_round_ends_when_its_time_is_up(database: Database) -> None:
    _ended(database, points=1000)
    with database.begin() as connection:
        connection.execute(_COMPACT_ALREADY)
    moments = itertools.count(step=10.0)
    slow = Compactor(database, settled_s=0.0, clock=lambda: next(moments))
    assert [slow.round(), slow.round(), slow.round()] == [0, 0, 1]


def test_another_compactor_goes_on_where_one_has_stopped(database: Database) -> None:
    early = UUID(_ended(database, 200))
    assert Compactor(database, settled_s=0).round() == 1
    with database.begin() as connection:
        again = text("""
            insert into metric_chunk
            select job, key, step0 + 1000, attempt, step1 + 1000, n, t0, steps, vals, times
            from metric_chunk
        """)
        connection.execute(again)
    _ended(database, 200)
    restarted = Compactor(database, settled_s=0)
    assert [restarted.round(), restarted.round()] == [1, 0]
    assert compact(database, early) == 1  # it was not examined again


def test_a_compactor_that_is_late_takes_no_other_back(database: Database) -> None:
    jobs = [UUID(_ended(database, 100)) for _ in range(2)]
    with database.begin() as connection:
        ends = dict(connection.execute(text("select id, finished_at from job")).all())
        for job in reversed(jobs):
            places.advance(connection, "compactor", LastExamined(ends[job], job))
        assert places.read(connection, "compactor") == LastExamined(ends[jobs[1]], jobs[1])


def test_jobs_that_ended_at_the_same_moment_are_all_examined(database: Database) -> None:
    _ended(database, points=1000)
    with database.begin() as connection:
        connection.execute(_COMPACT_ALREADY)
        connection.execute(text("delete from job_index"))
        # by their ids, they come before the job that is not compact
        first = "update job set id = ('00000000' || right(id::text, 28))::uuid where owner = 'bob'"
        connection.execute(text(first))
        same = "update job set finished_at = clock_timestamp() - interval '1 hour'"
        connection.execute(text(same))
    assert Compactor(database, settled_s=0.0, clock=lambda: 0.0).round() == 1


@pytest.mark.parametrize("restarted", [False, True])
def test_a_job_that_was_locked_is_tried_again_by_this_compactor_and_by_the_next(
    database: Database, restarted: bool
) -> None:
    locked, _ = (UUID(_ended(database, 200)) for _ in range(2))
    compactor = Compactor(database, settled_s=0)
    with database.begin() as other:
        other.execute(text("select 1 from job where id = :id for update"), {"id": locked})
        assert [compactor.round(), compactor.round()] == [1, 0]
    after = Compactor(database, settled_s=0) if restarted else compactor
    assert [after.round(), after.round()] == [1, 0]
    assert compact(database, locked) == 0


def test_a_job_to_whose_rows_others_refer_just_now_is_compacted(database: Database) -> None:
    job = _ended(database, 200)
    with database.begin() as other:
        other.execute(text("select 1 from job for key share"))
        assert compact(database, UUID(job)) == 1


def test_a_job_that_has_just_ended_waits(database: Database) -> None:
    _ended(database, 200)
    assert Compactor(database, settled_s=60).round() == 0
    assert _chunks(database) == [100, 100]
