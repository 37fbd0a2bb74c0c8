"""The data that event streams send: read and encoded once for all streams at the same position."""

from __future__ import annotations

from dataclasses import dataclass

from normlab.records import ENDED, EventRecord, JobRecord
from service.jobs.records import read_records
from service.store import events
from service.store.database import Database
from service.store.identity import parse_id
from service.store.sight import Sight

MOST_EVENTS = 500
_SHOWN = {"state", "step", "steps", "epoch", "epochs", "attempt", "last"}


@dataclass(frozen=True)
class Telling:
    """
    The events after a given one.

    Args:
        events: all events, encoded, in one piece; empty if there are none.
        last: the number of the last event that was read.
        more: whether there may be more events already.
    """

    events: bytes
    last: int
    more: bool


@dataclass(frozen=True)
class JobTelling(Telling):
    """
    The same for one job, with its progress.

    Args:
        stand: the payload of its progress; the same bytes while nothing has changed.
        progress: an encoded record with this payload.
    """

    stand: str
    progress: bytes
    ended: bool


def of_job(database: Database, job: str, seq: int) -> JobTelling:
    """Read the events after event *seq* of *job*; a job that was purged has ended."""
    # Read the record first: if the job has ended, its last event exists when the events are read
    with database.autocommit() as connection:
        records = read_records(connection, [parse_id(job)], all_metrics=True)
    if not records:
        return JobTelling(b"", seq, more=False, stand="", progress=b"", ended=True)
    found = events.since(database, job, seq, MOST_EVENTS)
    last = found[-1].seq if found else seq
    more = len(found) == MOST_EVENTS
    told = _in_one_piece(found)
    stand, progress = _progress(records[0], last)
    return JobTelling(told, last, more, stand, progress, records[0].state in ENDED)


def of_all(database: Database, sight: Sight, seq: int) -> Telling:
    """Read the events after event *seq* of all jobs in *sight*."""
    found = events.since_of_all(database, sight, seq, MOST_EVENTS)
    return Telling(_in_one_piece(found.events), found.last, found.read == MOST_EVENTS)


def _in_one_piece(found: list[EventRecord]) -> bytes:
    return b"".join(_encoded(event, event.seq) for event in found)


def _encoded(event: EventRecord, seq: int | None = None) -> bytes:
    """Format one event; a client that resumes sends *seq*."""
    number = "" if seq is None else f"id: {seq}\n"
    return f"data: {event.model_dump_json()}\n{number}\n".encode()


def _progress(record: JobRecord, seq: int) -> tuple[str, bytes]:
    payload = record.model_dump(mode="json", include=_SHOWN)
    at = record.finished_at or record.started_at or record.created_at
    event = EventRecord(seq=seq, job=record.id, kind="progress", at=at, payload=payload)
    return record.model_dump_json(include=_SHOWN), _encoded(event)
