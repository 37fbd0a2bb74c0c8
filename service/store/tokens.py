"""Tokens: 256 random bits for authentication and permissions; only their hashes are stored."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text

from normlab.errors import InvalidSpec
from normlab.plain_text import unseen_in
from service.store.database import Database

Scope = Literal["read", "submit", "admin"]

_INSERT = text("""
    insert into token (sha256, owner, scopes) values (:sha256, :owner, :scopes)
    on conflict (sha256) do update set owner = excluded.owner, scopes = excluded.scopes,
        revoked_at = null
""")
_FIND = text("select owner, scopes from token where sha256 = :sha256 and revoked_at is null")
_REVOKE = text("""
    update token set revoked_at = clock_timestamp() where sha256 = :sha256 and revoked_at is null
""")


@dataclass(frozen=True)
class Token:
    """The owner of a token, and its permissions."""

    owner: str
    scopes: tuple[Scope, ...]


def create(database: Database, owner: str, scopes: Sequence[Scope]) -> str:
    """Make a token for *owner* and return it; it cannot be read again later."""
    token = secrets.token_urlsafe(32)
    accept(database, token, owner, scopes)
    return token


def accept(database: Database, token: str, owner: str, scopes: Sequence[Scope]) -> None:
    """Register the existing *token* for *owner*, whose name must be plain text."""
    unseen = unseen_in(owner)
    if not owner or unseen:
        raise InvalidSpec(f"owner {owner!r}: {unseen or 'an empty name'} cannot be shown")
    values = {"sha256": _hash(token), "owner": owner, "scopes": list(scopes)}
    with database.begin() as connection:
        connection.execute(_INSERT, values)


def find(database: Database, token: str) -> Token | None:
    """Return the owner and permissions of *token*; None if it is unknown or revoked."""
    # Looked up by its hash, so the time reveals nothing about the token.
    with database.autocommit() as connection:
        row = connection.execute(_FIND, {"sha256": _hash(token)}).first()
    return None if row is None else Token(row.owner, tuple(row.scopes))


def revoke(database: Database, token: str) -> bool:
    """Revoke *token*; return whether it was valid."""
    with database.begin() as connection:
        return connection.execute(_REVOKE, {"sha256": _hash(token)}).rowcount == 1


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
