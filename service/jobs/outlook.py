"""The outlook of a job: the time left, its place in the queue, what would let it start sooner."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, text

from normlab.records import JobDetail
from normlab.records.jobs import OutlookRecord
from service.jobs import estimates, reading, workers
from service.jobs.estimates import duration
from service.store.database import Database

# Of the same priority, older jobs of this owner come first, and other owners take turns.
_AHEAD = text("""
    select count(*) as ahead, max(priority) as highest from job
    where state = 'queued' and device = :device and trashed_at is null and id <> cast(:id as uuid)
        and (priority > :priority or (priority = :priority and created_at < :created_at))
""")
_HIGHEST = 100  # priority


def outlook(database: Database, job: str) -> OutlookRecord:
    """
    Return the outlook of *job*.

    Raises:
        NotFound: there is no such job.
    """
    found = reading.get(database, job)
    if found.state == "running":
        left = seconds_left(found, datetime.now(UTC))
        return OutlookRecord(state=found.state, left_s=left, left=_in_words(left))
    if found.state != "queued":
        return OutlookRecord(state=found.state)
    with database.autocommit() as connection:
        ahead, highest = _queue(connection, found)
    time = estimates.of_job(database, found.spec, found.device, found.steps)
    return OutlookRecord(
        state=found.state,
        left_s=time.seconds,
        left=time.words,
        ahead=ahead,
        waiting_for=found.waiting_for,
        changes=_changes(database, found, ahead, highest),
    )


def seconds_left(job: JobDetail, now: datetime) -> float | None:
    """Return the time that is left at the pace of this attempt; None before its first updates."""
    if not job.attempts or not job.steps:
        return None
    attempt = job.attempts[-1]
    done = job.step - attempt.resumed_from_step
    if done <= 0:
        return None
    return (now - attempt.started_at).total_seconds() / done * max(0, job.steps - job.step)


def _in_words(left_s: float | None) -> str:
    if left_s is None:
        return "not known before its first updates"
    return f"about {duration(left_s)}, at its pace so far"


def _queue(connection: Connection, job: JobDetail) -> tuple[int, int | None]:
    asked = {"device": job.device, "id": job.id, "priority": job.priority}
    row = connection.execute(_AHEAD, {**asked, "created_at": job.created_at}).one()
    return row.ahead, row.highest


def _changes(database: Database, job: JobDetail, ahead: int, highest: int | None) -> list[str]:
    device = next(one for one in workers.devices(database) if one.kind == job.device)
    serving = [worker for worker in device.workers if worker.able]
    if not serving:
        return [f"a worker for {job.device} starts: `python -m workers --device {job.device}`"]
    slots = sum(worker.slots for worker in serving)
    found = []
    if sum(worker.busy for worker in serving) >= slots:
        found.append(
            f"one of the {device.running} running jobs ends, or a worker with more than the "
            f"{slots} {'slot' if slots == 1 else 'slots'} for {job.device} starts"
        )
    if ahead and highest is not None and highest < _HIGHEST:
        found.append(
            f"its priority was {highest + 1}, above those of the jobs ahead "
            f"({'its study sets it' if job.study else 'copy it to a new job with that'})"
        )
    if job.study and job.waiting_for and "its study" in job.waiting_for:
        found = [f"its study continues: `normlab study resume {job.study}`"]
    return found
