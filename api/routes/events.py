"""Events of jobs as server-sent events that clients can resume."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from api.auth import ReaderDep, StandingDep
from api.callers import Standing
from api.state import State, StateDep
from api.streams import DESCRIPTION, KEEPALIVE, EventStream, encoded, wait_while_allowed
from api.wakeups import wait_for_news
from normlab.errors import ServiceUnavailable
from normlab.records import ENDED, EventRecord, JobRecord
from service.jobs import reading
from service.store import events
from service.store import sight as sights
from service.store.events import Found
from service.store.sight import Sight

router = APIRouter(tags=["events"])

_LOOK_AGAIN_S = 10.0  # without a wake-up, because one may have been lost with its connection
_COALESCE_S = 0.25  # metrics arrive many times per second, faster than people read
_MOST_EVENTS = 500

LastEventId = Annotated[
    int | None,
    Header(ge=0, le=2**63 - 1, description="number of the last event seen; go on after it"),
]
After = Annotated[
    int, Query(ge=0, le=2**63 - 1, description="the same for clients that cannot set headers")
]


async def _existing(job: str, state: StateDep) -> JobRecord:
    # Before the stream begins, so that an unknown job is a 404; no connection is held
    return await run_in_threadpool(reading.get, state.database, job)


@router.get("/jobs/{job}/events", response_class=StreamingResponse, responses=DESCRIPTION)
async def stream_job_events(
    reader: ReaderDep,
    standing: StandingDep,
    state: StateDep,
    record: Annotated[JobRecord, Depends(_existing)],
    last_event_id: LastEventId = None,
    after: After = 0,
) -> EventStream:
    """
    Follow one job until it has ended.

    Each event is an EventRecord; its `id` is what `Last-Event-ID` takes. Between
    events, records of kind `progress` (without `id`, so they are never repeated)
    give the job's progress and the last values of its metrics.
    """
    chunks = _follow_job(state, standing, record.id, last_event_id or after)
    return EventStream(chunks, state.streams.held_by(reader.owner))


@router.get("/events", response_class=StreamingResponse, responses=DESCRIPTION)
async def stream_all_events(
    reader: ReaderDep,
    standing: StandingDep,
    state: StateDep,
    last_event_id: LastEventId = None,
    after: After | None = None,
) -> EventStream:
    """Follow all jobs that you may read, from now on or after an event, until the server stops."""
    seq = after if last_event_id is None else last_event_id
    if seq is None:
        seq = await run_in_threadpool(events.latest, state.database)
    chunks = _follow_all(state, standing, seq)
    return EventStream(chunks, state.streams.held_by(reader.owner))


async def _follow_all(state: State, standing: Standing, seq: int) -> AsyncGenerator[bytes, None]:
    sight: Sight | None = sights.current()
    with state.wakeups.watch(None) as watch:
        while not state.wakeups.closing:
            watch.clear()
            sight = await standing.sight(sight)  # its caller may have left a project since
            if sight is None:
                return
            found = await _look_at_all(state, sight, seq)
            for event in found.events:
                yield encoded(event, event.seq)
            seq = found.last
            if found.read < _MOST_EVENTS:
                await asyncio.sleep(_COALESCE_S)
            if not found.events:
                yield KEEPALIVE
            pause = _LOOK_AGAIN_S if found.read < _MOST_EVENTS else 0
            if not await wait_while_allowed(watch.news, pause, standing):
                return


async def _follow_job(
    state: State, standing: Standing, job: str, seq: int
) -> AsyncGenerator[bytes, None]:
    told: JobRecord | None = None
    with state.wakeups.watch(job) as watch:
        while not state.wakeups.closing:
            watch.clear()
            # The record first: if the job has ended, its last event exists when events are read
            record = await _read(state, job)
            found = await _look(state, job, seq)
            for event in found:
                seq = event.seq
                yield encoded(event, seq)
            if record is not None and _moved(told, record):
                told = record
                yield _progress(record, seq)
            elif not found:
                yield KEEPALIVE
            if len(found) < _MOST_EVENTS and record is not None and record.state in ENDED:
                return
            if not found:
                await wait_for_news(watch.event, _COALESCE_S)
            pause = _LOOK_AGAIN_S if len(found) < _MOST_EVENTS else 0
            if not await wait_while_allowed(watch.news, pause, standing):
                return


async def _look_at_all(state: State, sight: Sight, seq: int) -> Found:
    try:
        look = partial(events.since_of_all, state.database, sight, seq, _MOST_EVENTS)
        return await state.looks.ask(("events", sight, seq), look)
    except ServiceUnavailable:
        return Found([], 0, seq)


async def _look(state: State, job: str, seq: int) -> list[EventRecord]:
    try:
        look = partial(events.since, state.database, job, seq, _MOST_EVENTS)
        return await state.looks.ask(("events", job, seq), look)
    except ServiceUnavailable:
        return []  # the stream outlives database outages: the next query finds what was missed


async def _read(state: State, job: str) -> JobRecord | None:
    try:
        look = partial(reading.get, state.database, job)
        return await state.looks.ask(("job", job, sights.current()), look)
    except ServiceUnavailable:
        return None


def _moved(before: JobRecord | None, now: JobRecord) -> bool:
    return before is None or _place(before) != _place(now)


def _place(record: JobRecord) -> tuple[object, ...]:
    return record.state, record.attempt, record.step, record.last


def _progress(record: JobRecord, seq: int) -> bytes:
    payload = record.model_dump(
        mode="json", include={"state", "step", "steps", "epoch", "epochs", "attempt", "last"}
    )
    at = record.finished_at or record.started_at or record.created_at
    event = EventRecord(seq=seq, job=record.id, kind="progress", at=at, payload=payload)
    return encoded(event)
