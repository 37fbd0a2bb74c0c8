"""The log of a job, in pieces."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from api.auth import ReaderDep, StandingDep
from api.state import StateDep
from api.streams import wait_while_allowed
from normlab.errors import Unauthorized
from normlab.records import LogPage
from service.results import logs

router = APIRouter(tags=["logs"])

_MOST_BYTES = 1 << 20


@router.get("/jobs/{job}/logs")
async def read_log(
    job: str,
    reader: ReaderDep,
    standing: StandingDep,
    state: StateDep,
    offset: Annotated[
        int,
        Query(
            ge=-(2**62),
            le=2**62,
            description="where to begin, in bytes; a negative number counts from the end",
        ),
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=_MOST_BYTES)] = 256 * 1024,
    follow: Annotated[
        float, Query(ge=0, le=60, description="seconds to wait for new text at the end of the log")
    ] = 0,
) -> LogPage:
    """Return a piece of the log; ask again from `next_offset` until `ended`."""
    with state.wakeups.watch(job) as watch:
        page = await run_in_threadpool(logs.read, state.database, job, offset, limit)
        until = time.monotonic() + follow
        while not (page.text or page.ended or state.wakeups.closing):
            left = until - time.monotonic()
            if left <= 0:
                break
            if not await wait_while_allowed(watch.news, left, standing):
                raise Unauthorized(
                    "while the log was followed, the token ended, or its owner left the project"
                )
            here = page.next_offset  # a negative offset would move with the end
            page = await run_in_threadpool(logs.read, state.database, job, here, limit)
        return page
