"""Checks before a body is read: the caller is authenticated and is not another site's page."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api import errors
from api.auth import bearer_token, identify
from api.callers import Callers
from api.origins import check_same_origin
from api.root_path import inner_path
from normlab.errors import NormlabError
from service.store import sight

LOGIN = "/login"  # its body contains the token, so unauthenticated callers may send one


class Gate:
    """
    Authenticate callers that send a body; otherwise refuse the request without reading the body.

    The framework reads a body before anything else, so unauthenticated callers could use up
    our memory. Requests without a body are checked in the same way in their route.
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
        sight.look_with(sight.NOTHING)  # until the caller is known
        try:
            await self._check(request)
        except NormlabError as e:
            response = await errors.answer(request, e)
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _check(self, request: Request) -> None:
        if bearer_token(request) is None:  # then a browser may authenticate it with the cookie
            check_same_origin(request)
        if has_body(request) and inner_path(request.scope) != LOGIN:
            await identify(request, self._callers)


def has_body(request: Request) -> bool:
    """Return whether the head announces a body."""
    headers = request.headers
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
