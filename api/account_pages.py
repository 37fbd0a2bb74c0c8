"""The pages of an account: login, logout, sessions, tokens, disk use, and the audit trail."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.auth import COOKIE, OLD_COOKIE, AdminDep, ReaderDep, credential_of, host_of
from api.caller import Caller, Credential
from api.costly import costly
from api.proxies import root_of
from api.rendering import render
from api.routes.limits import limits_of
from api.state import State, StateDep
from normlab.counting import size
from normlab.errors import Forbidden, Unauthorized
from normlab.records.access import TokenRecord
from normlab.records.limits import LimitRecord
from service.store import audit, sessions, token_changes
from service.studies import purging

router = APIRouter()

_SECTION = "/account"
_PAGE_SIZE = 100
_LIMIT_WORDS = {
    "queued": "waiting jobs",
    "running": "running jobs",
    "devices": "devices in use",
    "device_hours_per_month": "device hours this month (UTC)",
    "storage_bytes": "storage: files, curves, logs",
    "priority": "highest priority",
    "requests_per_minute": "requests per minute with one token",
}


@router.get("/login")
async def show_login(request: Request, next: str = "/jobs") -> Response:
    """Ask for the token."""
    return render(request, "login.html", next=next)


@router.post("/login")
async def log_in(
    request: Request,
    state: StateDep,
    token: Annotated[str, Form(max_length=500)],
    next: Annotated[str, Form(max_length=2000)] = "/jobs",
) -> Response:
    """Exchange a valid token for a session cookie that scripts cannot read or other sites send."""
    given = token.strip()
    try:
        caller = await state.callers.admit(Credential("token", given), host_of(request))
    except Unauthorized as e:
        return render(request, "login.html", status=401, next=next, problem=str(e))
    agent = request.headers.get("user-agent", "")
    lasts_s = state.settings.session_s
    session = await run_in_threadpool(
        sessions.begin, state.database, given, caller.actor, agent, lasts_s
    )
    local = next if next.startswith("/") and not next.startswith(("//", "/\\")) else "/jobs"
    response = RedirectResponse(local, status_code=303)
    secure = request.url.scheme == "https"
    path = _cookie_path(request)
    response.set_cookie(
        COOKIE, session, round(lasts_s), path=path, httponly=True, samesite="strict", secure=secure
    )
    response.delete_cookie(OLD_COOKIE, path, httponly=True, samesite="strict")
    return response


@router.post("/logout")
async def log_out(request: Request, state: StateDep) -> Response:
    """End the session on the server and in this browser."""
    caller = await _who_leaves(request, state)
    if caller is not None and caller.session is not None:
        await run_in_threadpool(sessions.end, state.database, caller.session, caller.actor)
        state.callers.forget()
    response = RedirectResponse("/login", status_code=303)
    for cookie in (COOKIE, OLD_COOKIE):
        response.delete_cookie(cookie, _cookie_path(request), httponly=True, samesite="strict")
    return response


@router.get("/account")
def show_account(request: Request, reader: ReaderDep, state: StateDep) -> Response:
    """Show the caller's own logins and tokens."""
    idle_s = state.settings.session_idle_s
    found = token_changes.list_tokens(state.database, owner=reader.owner, limit=_PAGE_SIZE)
    return render(
        request,
        "account.html",
        reader,
        sessions=sessions.open_of(state.database, reader.owner, idle_s),
        tokens=[token for token in found.tokens if token.state == "active"],
        may_end=lambda token: _allows_no_more(token, reader),
        limits=_limits(state, reader),
        limit_words=_LIMIT_WORDS,
        limit_number=lambda what, n: size(n) if what == "storage_bytes" else f"{n:.10g}",
        section=_SECTION,
    )


@router.post("/account/sessions/{session}/end")
def end_session(session: str, reader: ReaderDep, state: StateDep) -> Response:
    """End another login of the caller."""
    idle_s = state.settings.session_idle_s
    sessions.end_other(state.database, session, reader.actor, idle_s)
    state.callers.forget()
    return RedirectResponse(_SECTION, status_code=303)


@router.post("/account/tokens/{token}/revoke")
def revoke_own_token(token: str, reader: ReaderDep, state: StateDep) -> Response:
    """Revoke a token of the caller that allows no more than the one of this login."""
    record = token_changes.get(state.database, token)
    reader.check_owns(record.owner, f"token {token}")
    if not _allows_no_more(record, reader):
        raise Forbidden(
            f"token {token} allows more than this login; log in with it, or ask an admin"
        )
    token_changes.revoke(state.database, token, reader.actor)
    state.callers.forget()
    return RedirectResponse(_SECTION, status_code=303)


@router.get("/audit")
@costly
def show_audit(
    request: Request,
    reader: AdminDep,
    state: StateDep,
    owner: str | None = None,
    action: str | None = None,
    cursor: str | None = None,
) -> Response:
    """Show the audit trail."""
    page = audit.read(
        state.reads, owner=owner or None, action=action or None, cursor=cursor, limit=_PAGE_SIZE
    )
    return render(
        request,
        "audit.html",
        reader,
        page=page,
        actions=audit.ACTIONS,
        given={"owner": owner or "", "action": action or ""},
        cursor=cursor,
        section="/audit",
    )


def _limits(state: State, reader: Caller) -> list[LimitRecord]:
    """Return the limits of the caller, and those that are set for their projects."""
    own = limits_of(state, reader, "owner", reader.owner).limits
    of_projects = (limits_of(state, reader, "project", name) for name in reader.projects())
    return [*own, *(one for of in of_projects for one in of.limits if one.most is not None)]


def _cookie_path(request: Request) -> str:
    return root_of(request.scope) or "/"


async def _who_leaves(request: Request, state: State) -> Caller | None:
    try:
        return await state.callers.find(credential_of(request))
    except Unauthorized:  # there is nothing to end
        return None


def _allows_no_more(token: TokenRecord, caller: Caller) -> bool:
    return set(token.scopes) <= caller.scopes


@router.get("/usage")
@costly
def show_usage(request: Request, reader: ReaderDep, state: StateDep) -> Response:
    """Show how much the visible jobs store, by owner, and how much the caller has in the trash."""
    owners = purging.usage(state.reads)
    return render(
        request,
        "usage.html",
        reader,
        owners=owners,
        most=max((one.bytes for one in owners), default=0),
        total=sum(one.bytes for one in owners),
        trash=purging.summary(state.reads, reader.owner, state.settings.trash_days),
        size=size,
        section=_SECTION,
    )
