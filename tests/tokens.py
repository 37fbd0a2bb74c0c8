"""Tokens straight in the database, also those that the service would not make or revoke."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text

from service.store import tokens
from service.store.database import Database
from service.store.tokens import Scope

_REVOKE = text("update token set revoked_at = clock_timestamp() where sha256 = :sha256")


def create_token(database: Database, owner: str, scopes: Sequence[Scope]) -> str:
    """Create a token for *owner* and return its secret."""
    secret = tokens.new_secret()
    tokens.accept(database, secret, owner, scopes)
    return secret


def revoke_token(database: Database, secret: str) -> None:
    """Revoke a token, even if it is the last one of an admin."""
    with database.begin() as connection:
        connection.execute(_REVOKE, {"sha256": tokens.hashed(secret)})
