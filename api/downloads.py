"""Downloads that stop when the client disconnects."""

from __future__ import annotations

import anyio
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send


class Download(FileResponse):
    """Send a file; stop reading it when the client disconnects."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until the client disconnects."""
        async with anyio.create_task_group() as both:

            async def notice_leave() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                both.cancel_scope.cancel()

            both.start_soon(notice_leave)
            await super().__call__(scope, receive, send)
            both.cancel_scope.cancel()
