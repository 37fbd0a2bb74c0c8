"""Files on their way out, which end with their reader."""

from __future__ import annotations

import anyio
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send


class Download(FileResponse):
    """Send a file; once the reader has left, read no more of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until the reader leaves."""
        async with anyio.create_task_group() as both:

            async def notice_leave() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                both.cancel_scope.cancel()

            both.start_soon(notice_leave)
            await super().__call__(scope, receive, send)
            both.cancel_scope.cancel()
