"""Files of checkpoints are deleted when newer ones are on record, and only then."""

from __future__ import annotations

from pathlib import Path
from typing import List, NamedTuple

import pytest

from normlab.events import AnyEvent, CheckpointWritten, Failed, Progress
from service.jobs import leases
from service.jobs.leases import Lease
from service.results import reports
from service.store.database import Database
from tests.service.work import claim, submit
from workers.checkpoint_files import CheckpointFiles

LOST = Failed(code="worker_lost", failure_kind="lost", retryable=True, message="gone")
PROGRESS = Progress(step=1, steps=9, epoch=0, epochs=1)


class Attempt(NamedTuple):
    """An attempt that writes small files as its checkpoints, and keeps two."""

    database: Database
    folder: Path
    lease: Lease

    @property
    def files(self) -> CheckpointFiles:
        return CheckpointFiles(self.folder / str(self.lease.job), self.lease)

    def write(self, step: int) -> CheckpointWritten:
        own = self.folder / str(self.lease.job) / f"attempt-{self.lease.attempt}" / "checkpoints"
        own.mkdir(parents=True, exist_ok=True)
        path = own / f"step-{step:09d}.pt"
        path.touch()
        return CheckpointWritten(step=step, path=str(path), sha256=f"{step}", bytes=1)

    def record(self, *events: AnyEvent) -> None:
        assert reports.keep_all(self.database, self.lease, events)

    def next(self) -> Attempt:
        leases.fail(self.database, self.lease, LOST)
        return self._replace(lease=claim(self.database))

    def left(self) -> List[str]:
        found = (self.folder / str(self.lease.job)).glob("attempt-*/checkpoints/*")
        return sorted(f"{path.parts[-3]}: {int(path.stem[5:])}" for path in found)


@pytest.fixture
def attempt(database: Database, tmp_path: Path) -> Attempt:
    submit(database, checkpoint={"keep": 2}, max_attempts=9)
    return Attempt(database, tmp_path, claim(database))


def test_an_older_file_stays_until_newer_ones_are_on_record(attempt: Attempt) -> None:
    files = attempt.files
    first, second, third = (attempt.write(step) for step in (10, 20, 30))
    files.record([first, PROGRESS, second])
    assert attempt.left() == ["attempt-1: 10", "attempt-1: 20", "attempt-1: 30"]
    files.record([third])
    assert attempt.left() == ["attempt-1: 20", "attempt-1: 30"]


def test_of_those_that_wait_to_be_recorded_only_the_newest_are_kept(attempt: Attempt) -> None:
    waiting: List[AnyEvent] = [attempt.write(step) for step in (10, 20, 30)]
    found = attempt.files.without_surpassed([waiting[0], PROGRESS, *waiting[1:]])
    assert found == [PROGRESS, *waiting[1:]]
    assert attempt.left() == ["attempt-1: 20", "attempt-1: 30"]


def test_those_of_earlier_attempts_are_deleted_as_newer_ones_come_on_record(
    attempt: Attempt,
) -> None:
    attempt.record(attempt.write(10), attempt.write(20))
    again = attempt.next()
    files = again.files
    files.record([again.write(30)])
    assert again.left() == ["attempt-1: 20", "attempt-2: 30"]
    files.record([again.write(40)])
    assert again.left() == ["attempt-2: 30", "attempt-2: 40"]


def test_a_step_that_is_written_again_takes_the_place_of_the_earlier_file(attempt: Attempt) -> None:
    attempt.record(attempt.write(10), attempt.write(20))
    again = attempt.next()
    again.files.record([again.write(20)])
    assert again.left() == ["attempt-1: 10", "attempt-2: 20"]


def test_what_an_attempt_could_not_record_is_deleted_before_the_next_one(attempt: Attempt) -> None:
    attempt.record(attempt.write(10))
    attempt.write(20)
    again = attempt.next()
    again.files.drop_unrecorded()
    assert again.left() == ["attempt-1: 10"]


def test_an_attempt_that_began_again_keeps_its_own_and_not_later_ones_that_nobody_could_read(
    attempt: Attempt,
) -> None:
    attempt.record(attempt.write(110), attempt.write(120))
    again = attempt.next()  # both are damaged, so it begins at step 0
    files = again.files
    for step in (10, 20):
        written = again.write(step)
        again.record(written)
        files.record([written])
    assert again.left() == ["attempt-2: 10", "attempt-2: 20"]
    assert [c.step for c in again.next().lease.resume] == [20, 10]


def test_the_folder_of_the_attempt_that_begins_is_left_alone(attempt: Attempt) -> None:
    attempt.record(attempt.write(10))
    again = attempt.next()
    again.write(20)
    again.files.drop_unrecorded()
    assert again.left() == ["attempt-1: 10", "attempt-2: 20"]
