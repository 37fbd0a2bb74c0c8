"""Streams of server-sent events: they end on disconnect or when the token is revoked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.callers import Standing
from api.wakeups import wait_for_news
from normlab.errors import QuotaExceeded

KEEPALIVE = b": keepalive\n\n"  # a comment, so that proxies see an active connection
MOST_OF_ONE_OWNER = 200
_CHECK_S = 2.0  # between checks that the token is still valid
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # nginx must not buffer it
_ITEM = {
    "type": "object",
    "properties": {"data": {"type": "string"}, "id": {"type": "string"}},
}
DESCRIPTION: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "events until the stream ends",
        "content": {"text/event-stream": {"itemSchema": _ITEM}},
    }
}


class OpenStreams:
    """Counts the streams of each owner, so that no owner takes every connection."""

    def __init__(self, most: int = MOST_OF_ONE_OWNER) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    @contextmanager
    def held_by(self, owner: str) -> Iterator[None]:
        """Count a stream of *owner* while it is open; raise QuotaExceeded beyond the limit."""
        if self._open[owner] >= self._most:
            raise QuotaExceeded(
                f"{owner!r} has {self._most} open streams; close some, or follow all jobs in one "
                "stream with GET /v1/events"
            )
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open[owner] -= 1
            self._open += Counter()  # keeps only counts above 0


class EventStream(StreamingResponse):
    """
    Sends *chunks* until they end or the client disconnects; holds a *place* meanwhile.

    A disconnect is not an error: the generator is closed at its current point, so that none
    of its resources, such as a subscription, is left behind.
    """

    media_type = "text/event-stream"

    def __init__(
        self, chunks: AsyncGenerator[bytes, None], place: AbstractContextManager[None]
    ) -> None:
        super().__init__(chunks, headers=_HEADERS)
        self._chunks = chunks
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, and close its generator."""
        with self._place:
            async with aclosing(self._chunks):
                await super().__call__(scope, receive, send)


async def wait_while_allowed(woken: asyncio.Event, seconds: float, standing: Standing) -> bool:
    """Wait for *woken*, at most *seconds*; return False as soon as the token is not valid."""
    while await standing.holds():
        if seconds <= 0 or woken.is_set():
            woken.clear()
            return True
        piece = min(seconds, _CHECK_S)
        if await wait_for_news(woken, piece):
            return await standing.holds()
        seconds -= piece
    return False
