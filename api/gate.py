"""Checks before a body is read: the caller is authenticated and is not another site's page."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api import errors
from api.auth import bearer_token, identify
from api.callers import Callers
from api.proxies import inner_path
from normlab.errors import Forbidden, NormlabError
from service.store import sight

LOGIN = "/login"  # its body contains the token, so unauthenticated callers may send one
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


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


def check_same_origin(request: HTTPConnection) -> None:
    """
    Raise Forbidden if a page from another site sent a request that changes something.

    Browsers report this in Sec-Fetch-Site (over HTTPS and to loopback), and in Origin, which older
    browsers send as well. Other programs send neither header, and no cookie of a user.
    """
    if request.scope["method"] in _SAFE_METHODS:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        ours = site in ("same-origin", "none")
    else:
        ours = origin is None or _place(origin) == request.headers.get("host", "").lower()
    if not ours:
        raise Forbidden(
            f"a {request.scope['method']} with no token in its header came from another site "
            f"({origin or site}); open the page itself, or send Authorization: Bearer TOKEN"
        )


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
