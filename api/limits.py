"""Refuse a body that is too large, as soon as it is known to be."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1 << 20


class BodyLimit:
    """
    Count the bytes of a body while they arrive; raise 413 beyond *limit*.

    A declared length is believed when it is too large, so that nothing is read at all.
    """

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with a counting *receive*."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        seen = 0
        declared = Headers(scope=scope).get("content-length", "")

        async def counted() -> Message:
            nonlocal seen
            if declared.isdigit() and int(declared) > self.limit:
                raise self._too_large(f"{declared} bytes")
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                raise self._too_large(f"more than {self.limit} bytes")
            return message

        await self.app(scope, counted, send)

    def _too_large(self, found: str) -> HTTPException:
        detail = f"the body has {found}; at most {self.limit} are accepted"
        return HTTPException(413, detail, headers={"Connection": "close"})
