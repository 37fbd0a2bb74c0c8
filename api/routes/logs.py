"""A job's log, piece by piece."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from api.auth import ReaderDep
from api.state import StateDep
from api.waiting import wait_for_news
from normlab.records import LogPage
from service import logs

router = APIRouter(tags=["logs"])

_MOST_BYTES = 1 << 20


@router.get("/jobs/{job}/logs")
async def read_log(
    job: str,
    reader: ReaderDep,
    state: StateDep,
    offset: Annotated[
        int, Query(ge=-(2**62), le=2**62, description="in bytes; negative counts from the end")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=_MOST_BYTES)] = 256 * 1024,
    follow: Annotated[
        float, Query(ge=0, le=60, description="seconds to wait for something new, if at the end")
    ] = 0,
) -> LogPage:
    """Return a piece of the log; ask again from `next_offset` until `ended`."""
    with state.wakeups.watch(job) as watch:
        page = await run_in_threadpool(logs.read, state.database, job, offset, limit)
        while follow > 0 and not page.text and not page.ended and not state.wakeups.closing:
            follow = await wait_for_news(watch.news, follow)
            here = page.next_offset  # a negative offset would slide along with the end
            page = await run_in_threadpool(logs.read, state.database, job, here, limit)
        return page
