"""Authentication: a bearer token from programs, or the same token in a cookie from browsers."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from starlette.requests import HTTPConnection

from api.callers import Caller, Callers, Standing
from api.state import StateDep
from normlab.errors import Forbidden, Unauthorized
from service.store.tokens import Scope

COOKIE = "normlab_token"

_bearer = HTTPBearer(auto_error=False, description="a token of `normlab up` or of an operator")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="set by the page's login")


async def identify(request: HTTPConnection, callers: Callers) -> Caller:
    """
    Authenticate the caller from the head of *request* alone.

    Raises:
        Unauthorized: no token, or an unknown one.
        QuotaExceeded: too many wrong tokens from the same address.
    """
    return await callers.admit(token_of(request), host_of(request))


def token_of(request: HTTPConnection) -> str:
    """Return the token of *request*; raise Unauthorized if it has none."""
    token = bearer_token(request) or request.cookies.get(COOKIE)
    if not token:
        raise Unauthorized(
            "a token is needed: send the header Authorization: Bearer TOKEN "
            "(`normlab up` prints one)"
        )
    return token


def host_of(request: HTTPConnection) -> str:
    """Return the address that *request* came from."""
    return request.client.host if request.client else "unknown"


def bearer_token(request: HTTPConnection) -> str | None:
    """Return the token in the header of *request*, if there is one."""
    scheme, token = get_authorization_scheme_param(request.headers.get("authorization"))
    return token if scheme.lower() == "bearer" and token else None


async def caller_of(
    request: Request,
    state: StateDep,
    _bearer: Annotated[object, Security(_bearer)],  # both appear in the OpenAPI description
    _cookie: Annotated[object, Security(_cookie)],
) -> Caller:
    """Authenticate the caller."""
    return await identify(request, state.callers)


async def _standing(request: Request, state: StateDep) -> Standing:
    return Standing(state.callers, token_of(request))


CallerDep = Annotated[Caller, Depends(caller_of)]
StandingDep = Annotated[Standing, Depends(_standing)]


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
