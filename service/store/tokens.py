"""Tokens: 256 random bits for authentication and permissions; only their hashes are stored."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import text

from normlab.errors import InvalidSpec, ServiceUnavailable
from normlab.plain_text import unseen_in
from normlab.records.access import Scope as Scope
from service.store.database import Database
from service.store.identity import new_id

USED_EVERY_S = 60
"""The use of a token is written at most once in this time."""

_INSERT = text("""
    insert into token (sha256, id, owner, scopes, note)
    values (:sha256, :id, :owner, :scopes, :note)
    on conflict (sha256) do update set owner = excluded.owner, scopes = excluded.scopes,
        note = excluded.note, revoked_at = null, expires_at = null
""")
# Only the database's clock decides what has ended, because the clocks of hosts may be wrong
_FIND = text("""
    select id, owner, scopes, revoked_at, expires_at,
        extract(epoch from expires_at - clock_timestamp()) as left_s,
        extract(epoch from clock_timestamp() - last_used_at) as unused_s
    from token where sha256 = :sha256
""")
_USED = text("""
    update token set last_used_at = clock_timestamp()
    where id in (select id from token where id = :id for update skip locked)
""")
_REVOKE = text("""
    update token set revoked_at = clock_timestamp() where sha256 = :sha256 and revoked_at is null
""")


@dataclass(frozen=True)
class Token:
    """A token: its owner, its scopes, and its end."""

    owner: str
    scopes: tuple[Scope, ...]
    id: UUID
    expires_at: datetime | None = None
    left_s: float | None = None
    ended: Literal["revoked", "expired"] | None = None


def create(database: Database, owner: str, scopes: Sequence[Scope]) -> str:
    """Create a token for *owner* and return it: it is shown only now, and cannot be read again."""
    token = new_secret()
    accept(database, token, owner, scopes)
    return token


def accept(
    database: Database, token: str, owner: str, scopes: Sequence[Scope], note: str = ""
) -> None:
    """Accept the given *token* for *owner*, whose name must be plain text."""
    unseen = unseen_in(owner)
    if not owner or unseen:
        raise InvalidSpec(f"owner {owner!r}: {unseen or 'an empty name'} cannot be shown")
    values = {"sha256": hashed(token), "id": new_id(), "owner": owner, "note": note}
    with database.begin() as connection:
        connection.execute(_INSERT, {**values, "scopes": list(scopes)})


def find(database: Database, token: str) -> Token | None:
    """
    Return the record of *token*, even if it has ended; None if it is unknown.

    Its use is recorded, at most once in USED_EVERY_S.
    """
    # It is found by its hash, so the time of the look-up reveals nothing about the token.
    with database.autocommit() as connection:
        row = connection.execute(_FIND, {"sha256": hashed(token)}).first()
    if row is None:
        return None
    found = token_of(row)
    if found.ended is None and (row.unused_s is None or row.unused_s >= USED_EVERY_S):
        _note_use(database, found.id)
    return found


def token_of(row: Any) -> Token:
    """Read a row that has `left_s`, the seconds up to the token's end by the database's clock."""
    left_s = None if row.left_s is None else float(row.left_s)
    ended: Literal["revoked", "expired"] | None = None
    if row.revoked_at is not None:
        ended = "revoked"
    elif left_s is not None and left_s <= 0:
        ended = "expired"
    return Token(row.owner, tuple(row.scopes), row.id, row.expires_at, left_s, ended)


def revoke(database: Database, token: str) -> bool:
    """Revoke *token*; return whether it was valid."""
    with database.begin() as connection:
        return connection.execute(_REVOKE, {"sha256": hashed(token)}).rowcount == 1


def new_secret() -> str:
    """Return a new random secret."""
    return secrets.token_urlsafe(32)


def hashed(secret: str) -> bytes:
    """Return the hash of *secret*, which is all that is stored of it."""
    return hashlib.sha256(secret.encode()).digest()


def _note_use(database: Database, token: UUID) -> None:
    # Reading must work even if the database accepts no writes, such as on a full disk
    with suppress(ServiceUnavailable), database.autocommit() as connection:
        connection.execute(_USED, {"id": token})
