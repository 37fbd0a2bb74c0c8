"""Tokens: admins create, list, rotate and revoke them."""

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
    Create a token. Its `secret` is shown only in this answer; only a hash of it is stored.

    If the request is repeated with the same key before the token's first use, the token gets a new
    secret.
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
    """List tokens in pages, newest first, including those that have ended."""
    return token_changes.list_tokens(state.database, owner=owner, cursor=cursor, limit=limit)


@router.delete("/tokens/{token}")
def revoke_token(token: str, admin: AdminDep, state: StateDep) -> TokenRecord:
    """Revoke a token immediately, with its streams and logins; the last admin token is kept."""
    record = token_changes.revoke(state.database, token, admin.actor)
    state.callers.forget()
    return record


@router.post("/tokens/{token}/rotate", status_code=201)
def rotate_token(
    token: str, how: Rotation, admin: AdminDep, state: StateDep, response: Response
) -> TokenIssued:
    """Replace a token by a new one; the old secret is valid until `predecessor_ends_at`."""
    issued = token_changes.rotate(state.database, token, how, admin.actor)
    state.callers.forget()
    response.headers["Cache-Control"] = "no-store"
    return issued
