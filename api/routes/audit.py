"""The audit trail, in pages, for admins."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime

from api.auth import AdminDep
from api.costly import costly
from api.state import StateDep
from normlab.records.access import AuditPage
from service.store import audit

router = APIRouter(tags=["audit"])

_NAME = Query(max_length=200)
Moment = Annotated[AwareDatetime | None, Query(description="the time, with its offset from UTC")]


@router.get("/audit")
@costly
def read_audit(
    request: Request,
    reader: AdminDep,
    state: StateDep,
    owner: Annotated[str | None, _NAME] = None,
    action: Annotated[str | None, Query(max_length=200, examples=["token.create"])] = None,
    since: Moment = None,
    until: Moment = None,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditPage:
    """List the records of the audit trail, newest first; `since` is included, `until` is not."""
    return audit.read(
        state.reads,
        owner=owner,
        action=action,
        since=since,
        until=until,
        cursor=cursor,
        limit=limit,
    )
