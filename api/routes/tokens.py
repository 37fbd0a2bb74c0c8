"""Tokens: admins make, list, rotate and revoke them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.auth import AdminDep
from api.bodies import IdempotencyKey, JsonRoute
from api.state import StateDep
from normlab.records.access import Rotation, TokenIssued, TokenPage, TokenRecord, TokenRequest
from service.store import token_changes

router = APIRouter(tags=["tokens"], route_class=JsonRoute)


@router.post("/tokens", status_code=201)
def create_token(
    asked: TokenRequest,
    admin: AdminDep,
    state: StateDep,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> TokenIssued:
    """
    Make a token; its `secret` is shown this once, and only a hash of it is kept.

    Sent again with the same key before the token's first use, the same token gets a new secret.
    """
    response.headers["Cache-Control"] = "no-store"
    return token_changes.issue(state.database, asked, admin.actor, idempotency_key)


@router.get("/tokens")
def list_tokens(
    admin: AdminDep,
    state: StateDep,
    owner: Annotated[str | None, Query(max_length=200)] = None,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> TokenPage:
    """List tokens, newest first, a page at a time, also those that have ended."""
    return token_changes.list_tokens(state.database, owner=owner, cursor=cursor, limit=limit)


@router.delete("/tokens/{token}")
def revoke_token(token: str, admin: AdminDep, state: StateDep) -> TokenRecord:
    """End a token at once, with the streams and logins that it opened; the last admin's stays."""
    record = token_changes.revoke(state.database, token, admin.actor)
    state.callers.forget()
    return record


@router.post("/tokens/{token}/rotate", status_code=201)
def rotate_token(
    token: str, how: Rotation, admin: AdminDep, state: StateDep, response: Response
) -> TokenIssued:
    """Put a new token in the place of one, which opens until `predecessor_ends_at`."""
    issued = token_changes.rotate(state.database, token, how, admin.actor)
    state.callers.forget()
    response.headers["Cache-Control"] = "no-store"
    return issued
