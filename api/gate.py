"""Before a body is read: who sends it must be known, and be no other site's page."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api import errors
from api.auth import bearer_token, identify
from api.callers import Callers
from api.origins import check_same_origin
from normlab.errors import NormlabError

LOGIN = "/login"  # its body brings the token, so a stranger may send one


class Gate:
    """
    Identify whoever sends a body; refuse him otherwise, and let his body go by unread.

    The framework reads a body before it looks at anything else, which is a stranger's memory
    and ours. Requests without a body meet the same check in their route.
    """

    def __init__(self, app: ASGIApp, callers: Callers) -> None:
        self.app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            await self._check(request)
        except NormlabError as e:
            response = await errors.answer(request, e)
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _check(self, request: Request) -> None:
        if bearer_token(request) is None:  # then a browser may vouch for it with the cookie
            check_same_origin(request)
        if has_body(request) and request.url.path != LOGIN:
            await identify(request, self._callers)


def has_body(request: Request) -> bool:
    """Say whether the head announces a body."""
    headers = request.headers
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
