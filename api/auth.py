"""Authentication and permissions: programs send a bearer token, browsers a session cookie."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from starlette.requests import HTTPConnection

from api.caller import CALLER, Caller, Credential
from api.callers import Callers, Standing
from api.rates import RATE
from api.state import StateDep
from api.things import Thing
from normlab.errors import Forbidden, Unauthorized
from service.store import sight
from service.store.sight import Sight
from service.store.tokens import Scope

COOKIE = "normlab_session"
OLD_COOKIE = "normlab_token"
"""The cookie of earlier versions, which contained the token itself and is no longer accepted."""

_COUNTED = "normlab.counted"
_bearer = HTTPBearer(auto_error=False, description="a token of `normlab up` or of an operator")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="set by the page's login")


async def identify(request: HTTPConnection, callers: Callers) -> Caller:
    """
    Authenticate the caller from the head of *request* alone; then it can see its projects.

    Raises:
        Unauthorized: there is no token or session, or it is unknown or has ended.
        QuotaExceeded: too many wrong tokens came from the same address.
        TooManyRequests: the token makes more requests than it may.
    """
    credential = credential_of(request)
    caller = await callers.admit(credential, host_of(request))
    sight.look_with(caller.sight)
    request.scope[CALLER] = caller
    if not request.scope.get(_COUNTED):  # gate and route both identify the caller
        request.scope[_COUNTED] = True
        stand = callers.count(caller, credential)
        if stand is not None:
            request.scope[RATE] = stand
            stand.check()
    return caller


def credential_of(request: HTTPConnection) -> Credential:
    """Return the token or session of *request*; raise Unauthorized if it has neither."""
    token = bearer_token(request)
    if token:
        return Credential("token", token)
    session = request.cookies.get(COOKIE)
    if session:
        return Credential("session", session)
    if OLD_COOKIE in request.cookies:
        raise Unauthorized(
            "this browser has logged in to an earlier version, which kept the token in it; "
            "log in again at /login"
        )
    raise Unauthorized(
        "a token is needed: send the header Authorization: Bearer TOKEN "
        "(`normlab up` prints one, `normlab token create` makes others)"
    )


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


CallerDep = Annotated[Caller, Depends(caller_of)]


async def things_of(request: Request, caller: CallerDep, state: StateDep) -> list[Thing]:
    """Find the jobs and studies in the path; those that the caller may not see are not found."""
    found = await state.things.named_by(request)
    for thing in found:
        _check_seen(caller, thing)
    return found


def _check_seen(caller: Caller, thing: Thing) -> None:
    if not caller.sight.sees(thing.project):
        raise thing.unknown


def check_may_change(caller: Caller, thing: Thing) -> None:
    """Raise NotFound unless *caller* sees *thing*, and Forbidden unless it may change it."""
    _check_seen(caller, thing)
    caller.check_may_change(thing.owner, thing.project, str(thing))


ThingsDep = Annotated[list[Thing], Depends(things_of)]


async def _standing(request: Request, state: StateDep, things: ThingsDep) -> Standing:
    needed = Sight(frozenset(thing.project for thing in things))
    return Standing(state.callers, credential_of(request), needed)


StandingDep = Annotated[Standing, Depends(_standing)]


def _needing(scope: Scope) -> Caller:
    async def check(caller: CallerDep, things: ThingsDep) -> Caller:
        if scope not in caller.scopes:
            held = ", ".join(sorted(caller.scopes))
            raise Forbidden(f"this needs a token with the scope {scope!r}; this one has {held}")
        return caller

    found: Caller = Depends(check)
    return found


ReaderDep = Annotated[Caller, _needing("read")]
SubmitterDep = Annotated[Caller, _needing("submit")]
AdminDep = Annotated[Caller, _needing("admin")]


async def _changer(caller: SubmitterDep, things: ThingsDep) -> Caller:
    for thing in things:
        check_may_change(caller, thing)
    return caller


ChangerDep = Annotated[Caller, Depends(_changer)]
"""May change the jobs and studies that the path names."""
