"""Who asks and may he: a bearer token from programs, the same in a cookie from people."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from api.callers import Caller
from api.state import StateDep
from normlab.errors import Forbidden, Unauthorized
from service.tokens import Scope

COOKIE = "normlab_token"

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_bearer = HTTPBearer(auto_error=False, description="a token of `normlab up` or of an operator")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="set by the page's login")


async def caller_of(
    request: Request,
    state: StateDep,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    cookie: Annotated[str | None, Security(_cookie)],
) -> Caller:
    """Find out who asks."""
    token = bearer.credentials if bearer else cookie
    if not token:
        raise Unauthorized(
            "a token is needed: send the header Authorization: Bearer TOKEN "
            "(`normlab up` prints one)"
        )
    if not bearer:
        _check_same_origin(request)
    return await state.callers.find(token)


CallerDep = Annotated[Caller, Depends(caller_of)]


def _needing(scope: Scope) -> Caller:
    async def check(caller: CallerDep) -> Caller:
        if scope not in caller.scopes:
            held = ", ".join(sorted(caller.scopes))
            raise Forbidden(f"this needs a token with the scope {scope!r}; this one has {held}")
        return caller

    found: Caller = Depends(check)
    return found


ReaderDep = Annotated[Caller, _needing("read")]
SubmitterDep = Annotated[Caller, _needing("submit")]


def _check_same_origin(request: Request) -> None:
    # The cookie is SameSite=Strict; this refuses what an old browser sends nevertheless
    site = request.headers.get("sec-fetch-site", "same-origin")
    if request.method not in _SAFE_METHODS and site not in ("same-origin", "none"):
        raise Forbidden(f"a {request.method} with the page's cookie came from another site")
