"""A failing item does not affect the others."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import text

from normlab.errors import ServiceUnavailable
from normlab.events import Finished, Metrics
from service.jobs import leases, reading, states
from service.jobs.reaper import Reaper
from service.one_by_one import LONGEST_PAUSE_S, OneByOne
from service.results import compaction, reports
from service.results.compaction import Compactor
from service.store.database import Database
from tests.service.work import claim, series, submit


class Work:
    def __init__(self, bad: int) -> None:
        self.bad: int | None = bad
        self.now = 0.0
        self.failures: list[float] = []
        self.done: list[int] = []
        self.round = OneByOne("numbers", self._do, self._note, lambda: self.now).round

    def _do(self, item: int) -> int:
        if item == self.bad:
            raise KeyError(item)
        self.done.append(item)
        return 1

    def _note(self, item: int, error: Exception, pause_s: float) -> None:
        self.failures.append(pause_s)


def test_a_failing_item_is_skipped_longer_and_longer_while_the_others_continue() -> None:
    work = Work(bad=2)
    for second in range(2000):
        work.now = second
        assert work.round([1, 2, 3]) == 2
    assert work.failures[:4] == [1, 2, 4, 8]
    assert work.failures[-1] == LONGEST_PAUSE_S


def test_an_item_that_succeeded_again_starts_with_the_shortest_pause() -> None:
    work = Work(bad=2)
    work.round([2])
    work.now, work.bad = 5, None
    assert work.round([2]) == 1
    work.bad = 2
    work.round([2])
    assert work.failures == [1, 1]


def test_an_unreachable_server_is_not_counted_against_an_item() -> None:
    def away(item: int) -> int:
        raise ServiceUnavailable("away")

    failures: list[int] = []
    with pytest.raises(ServiceUnavailable):
        OneByOne("numbers", away, lambda i, *_: failures.append(i)).round([1, 2])
    assert failures == []


def test_a_job_that_cannot_be_reaped_does_not_block_the_others(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        submit(database)
    first, *others = (claim(database, lease_s=1e-6) for _ in range(3))
    real = states.move

    def broken(connection: object, job: UUID, *rest: object, **more: object) -> bool:
        if job == first.job:
            raise RuntimeError("a defect with this job")
        return real(connection, job, *rest, **more)

    monkeypatch.setattr(states, "move", broken)
    failures: list[str] = []
    ticks = iter(range(0, 10_000, 100))
    reaper = Reaper(
        database, 0.02, clock=lambda: next(ticks), failed=lambda: failures.append("one")
    )
    assert (reaper.round(), reaper.round()) == (0, 2)
    assert failures == ["one"]
    assert {reading.get(database, str(c.job)).state for c in others} == {"queued"}


def test_a_job_that_cannot_be_compacted_does_not_block_later_ones(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []
    for _ in range(2):
        submit(database)
        held = claim(database)
        for step in (1, 2):
            reports.keep_all(database, held, [Metrics(series={"x": series(step)})])
        leases.finish(database, held, Finished(step=2, summary={}))
        ended.append(held.job)
    real = compaction.compact

    def broken(database: Database, job: UUID) -> int:
        if job == ended[0]:
            raise ValueError("its chunks are damaged")
        return real(database, job)

    monkeypatch.setattr(compaction, "compact", broken)
    failures: list[str] = []
    compactor = Compactor(database, settled_s=0, failed=lambda: failures.append("one"))
    assert (compactor.round(), compactor.round()) == (1, 0)
    assert failures == ["one"]


def test_a_queued_job_that_this_version_cannot_read_fails_alone(database: Database) -> None:
    bad, good = submit(database), submit(database)
    with database.begin() as connection:
        broken = text("update job set spec = spec || '{\"batch_size\": -1}' where id = :job")
        connection.execute(broken, {"job": bad.id})
    assert str(claim(database).job) == good.id
    with database.begin() as connection:
        row = connection.execute(text("select * from job where id = :job"), {"job": bad.id}).one()
    assert row.state == "failed"
    assert "batch_size" in row.error["message"]
