"""Events of jobs as server-sent events that clients can resume."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from api import tellings
from api.auth import ReaderDep, StandingDep
from api.callers import Standing
from api.state import State, StateDep
from api.streams import DESCRIPTION, KEEPALIVE, EventStream, wait_while_allowed
from api.tellings import JobTelling, Telling
from api.wakeups import wait_for_news
from normlab.errors import ServiceUnavailable
from normlab.records import JobRecord
from service.jobs import reading
from service.store import events, sight as sights
from service.store.sight import Sight

router = APIRouter(tags=["events"])

_LOOK_AGAIN_S = 10.0  # without a wake-up, because one may have been lost with its connection
_COALESCE_S = 0.25  # metrics arrive many times per second, faster than people read

LastEventId = Annotated[
    int | None,
    Header(
        ge=0,
        le=2**63 - 1,
        description="number of the last event that was received; the stream continues after it",
    ),
]
After = Annotated[
    int, Query(ge=0, le=2**63 - 1, description="the same, for clients that cannot set headers")
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
            sight = await standing.sight(sight)  # the caller may have left a project
            if sight is None:
                return
            found = await _look_at_all(state, sight, seq, watch.last)
            if found.events:
                yield found.events
            seq = found.last
            if not found.more:
                await asyncio.sleep(_COALESCE_S)
            if not found.events:
                yield KEEPALIVE
            pause = 0 if found.more else _LOOK_AGAIN_S
            if not await wait_while_allowed(watch.news, pause, standing):
                return


async def _follow_job(
    state: State, standing: Standing, job: str, seq: int
) -> AsyncGenerator[bytes, None]:
    stand = ""
    with state.wakeups.watch(job) as watch:
        while not state.wakeups.closing:
            watch.clear()
            found = await _look(state, job, seq, watch.last)
            if found is not None:
                seq = found.last
                progress = b"" if found.stand == stand else found.progress
                stand = found.stand
                yield found.events + progress or KEEPALIVE
                if found.ended and not found.more:
                    return
            if found is None or not found.events:
                await wait_for_news(watch.event, _COALESCE_S)
            pause = 0 if found is not None and found.more else _LOOK_AGAIN_S
            if not await wait_while_allowed(watch.news, pause, standing):
                return


async def _look_at_all(state: State, sight: Sight, seq: int, news: int) -> Telling:
    try:
        look = partial(tellings.of_all, state.database, sight, seq)
        return await state.looks.ask((sight, seq, news), look)
    except ServiceUnavailable:
        return Telling(b"", seq, more=False)


async def _look(state: State, job: str, seq: int, news: int) -> JobTelling | None:
    try:
        look = partial(tellings.of_job, state.database, job, seq)
        return await state.looks.ask((job, seq, news), look)
    except ServiceUnavailable:
        return None  # the stream outlives database outages: the next query finds what was missed
