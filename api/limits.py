"""Limits on bodies: size of one body, time to arrive, and total bytes held in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.gate import LOGIN
from api.proxies import inner_path

MAX_BODY_BYTES = 1 << 20
_CLOSE = {"Connection": "close"}  # do not wait for the rest of the body
_RETRY = {**_CLOSE, "Retry-After": "5"}


@dataclass
class Room:
    """
    The limits for one kind of body.

    Args:
        limit: the bytes of one body.
        total: the bytes of all bodies together.
        within_s: the time from the request's head to the end of its body.
    """

    limit: int
    total: int
    within_s: float
    taken: int = 0


class BodyLimit:
    """
    Counts the bytes of bodies while they arrive.

    A declared length that is too large is rejected before anything is read. The few
    bytes of a login come from unauthenticated callers. They have a separate limit, so that they do
    not reduce that of authenticated callers.

    Raises:
        HTTPException: 413 beyond the limit of one body, 503 beyond that of all, 408 when a body
            takes too long.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit: int = MAX_BODY_BYTES,
        total: int | None = None,
        within_s: float = 30,
    ) -> None:
        self.app = app
        self._known = Room(limit, max(total or 64 * limit, limit), within_s)
        self._strangers = Room(min(limit, 16 << 10), 4 << 20, min(within_s, 10.0))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with a counting *receive*."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        room = self._strangers if inner_path(scope) == LOGIN else self._known
        body = _Body(room, receive, Headers(scope=scope).get("content-length", ""))
        try:
            await self.app(scope, body.receive, send)
        finally:
            room.taken -= body.seen


class _Body:
    """One incoming body."""

    def __init__(
        self, room: Room, receive: Callable[[], Awaitable[Message]], declared: str
    ) -> None:
        self._room = room
        self._receive = receive
        self._declared = declared
        self._until = time.monotonic() + room.within_s
        self._whole = False
        self.seen = 0

    async def receive(self) -> Message:
        """Return the next message; after the whole body, the only message is the disconnect."""
        if self._whole:
            return await self._receive()
        limit = self._room.limit
        if self._declared.isdigit() and int(self._declared) > limit:
            raise _too_large(f"{self._declared} bytes", limit)
        message = await self._in_time()
        self._whole = not message.get("more_body", False)
        self._count(len(message.get("body", b"")))
        return message

    async def _in_time(self) -> Message:
        left = max(self._until - time.monotonic(), 0.0)
        try:
            return await asyncio.wait_for(self._receive(), left)
        except TimeoutError:
            detail = (
                f"the body did not arrive within {self._room.within_s:g} s; send it again, faster"
            )
            raise HTTPException(408, detail, headers=_CLOSE) from None

    def _count(self, more: int) -> None:
        self.seen += more
        self._room.taken += more
        if self.seen > self._room.limit:
            raise _too_large(f"more than {self._room.limit} bytes", self._room.limit)
        if self._room.taken > self._room.total:
            detail = f"bodies of {self._room.total} bytes are being received; try again soon"
            raise HTTPException(503, detail, headers=_RETRY)


def _too_large(found: str, limit: int) -> HTTPException:
    detail = f"the body has {found}; at most {limit} are accepted"
    return HTTPException(413, detail, headers=_CLOSE)
