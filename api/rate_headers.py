"""The headers that say how many requests a token may still make, on every answer to one."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

RATE = "normlab.rate"
"""The key of the `Stand` of a request's token in its scope, if its owner has a limit."""


class RateHeaders:
    """Adds `RateLimit` and `RateLimit-Policy` to the answers to callers whose rate is limited."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add to its answer."""

        async def told(message: Message) -> None:
            stand = scope.get(RATE)
            if stand is not None and message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(stand.headers)
            await send(message)

        await self.app(scope, receive, told)
