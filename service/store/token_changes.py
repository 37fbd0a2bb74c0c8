"""Changes of tokens by admins: create, list, revoke and rotate them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.errors import Conflict, FieldProblem, IdempotencyReuse, NotFound
from normlab.records.access import Rotation, TokenIssued, TokenPage, TokenRecord, TokenRequest
from service.store import audit
from service.store.audit import Actor
from service.store.cursors import decode_cursor, encode_cursor
from service.store.database import Database
from service.store.identity import new_id, parse_id
from service.store.tokens import hashed, new_secret

_ORDER = "tokens"
_SHOWN = """
    *, case when revoked_at is not null then 'revoked'
        when expires_at <= clock_timestamp() then 'expired' else 'active' end as state
"""
_INSERT = text(f"""
    insert into token (sha256, id, owner, scopes, note, expires_at, created_by, idempotency_key)
    values (:sha256, :id, :owner, :scopes, :note, :expires_at, :created_by, :idempotency_key)
    on conflict (created_by, idempotency_key) do nothing returning {_SHOWN}
""")
_OF_KEY = text(f"""
    select {_SHOWN} from token where created_by = :created_by and idempotency_key = :idempotency_key
    for update
""")
_NEW_SECRET = text(f"update token set sha256 = :sha256 where id = :id returning {_SHOWN}")
_PAGE = text(f"""
    select {_SHOWN} from token
    where (cast(:owner as text) is null or owner = :owner)
        and (cast(:at as timestamptz) is null or (created_at, id) < (:at, :id))
    order by created_at desc, id desc limit :limit
""")
_LOCKED = text(f"select {_SHOWN} from token where id = :id for update")
# Two concurrent requests that revoke the last two admin tokens must not both find another one
_ONE_BY_ONE = text("select pg_advisory_xact_lock(hashtextextended('normlab tokens', 0))")
# A token that was rotated ends soon, so it does not count
_OTHER_ADMINS = text("""
    select count(*) from token where 'admin' = any(scopes) and id <> :id and successor is null
        and revoked_at is null and (expires_at is null or expires_at > clock_timestamp())
""")
_REVOKE = text(f"""
    update token set revoked_at = clock_timestamp() where id = :id returning {_SHOWN}
""")
# The successor gets the whole lifetime that its predecessor had
_SUCCEED = text(f"""
    insert into token (sha256, id, owner, scopes, note, expires_at, created_by)
    select :sha256, :new, owner, scopes, note, clock_timestamp() + (expires_at - created_at), :by
    from token where id = :old returning {_SHOWN}
""")
_END_SOON = text("""
    update token set successor = :new, expires_at =
        least(expires_at, clock_timestamp() + make_interval(secs => :grace_s))
    where id = :old returning expires_at
""")


def issue(
    database: Database, asked: TokenRequest, by: Actor, idempotency_key: str | None = None
) -> TokenIssued:
    """
    Create a token and return it with its secret, which is shown only now.

    The same *idempotency_key* of the same creator means the same token. If the request is repeated
    before the token's first use, the token gets a new secret: the first may have been lost.

    Raises:
        IdempotencyReuse: the key came with another request before.
        Conflict: the key's token is in use or has ended, so its secret cannot be shown again.
    """
    secret = new_secret()
    values = {**asked.model_dump(), "sha256": hashed(secret), "id": new_id()}
    values |= {"created_by": by.owner, "idempotency_key": idempotency_key}
    with database.begin() as connection:
        row = connection.execute(_INSERT, values).mappings().first()
        if row is None:
            row = _again(connection, asked, values)
        else:
            told = {"owner": asked.owner, "scopes": asked.scopes}
            audit.write(connection, by, "token.create", row["id"], **told)
    return TokenIssued(**_fields(row), secret=secret)


def list_tokens(
    database: Database, *, owner: str | None = None, cursor: str | None = None, limit: int = 100
) -> TokenPage:
    """Return one page of tokens, newest first, including those that have ended."""
    at, before = (None, None) if cursor is None else decode_cursor(cursor, _ORDER, [datetime, UUID])
    values = {"owner": owner, "at": at, "id": before, "limit": limit + 1}
    with database.autocommit() as connection:
        rows = connection.execute(_PAGE, values).mappings().all()
    last = rows[limit - 1] if len(rows) > limit else None
    place = None if last is None else [last["created_at"].isoformat(), str(last["id"])]
    return TokenPage(
        tokens=[TokenRecord(**_fields(row)) for row in rows[:limit]],
        next_cursor=None if place is None else encode_cursor(_ORDER, place),
    )


def get(database: Database, token: str) -> TokenRecord:
    """Return the token of id *token*; raise NotFound if there is none."""
    with database.begin() as connection:
        return TokenRecord(**_fields(_locked(connection, token)))


def revoke(database: Database, token: str, by: Actor) -> TokenRecord:
    """
    Revoke the token with the id *token* now; a revoked one stays revoked.

    Raises:
        NotFound: no token has this id.
        Conflict: it is the last admin token.
    """
    with database.begin() as connection:
        row = _locked(connection, token)
        if row["state"] != "revoked":
            _refuse_the_last_admin(connection, row)
            row = connection.execute(_REVOKE, {"id": row["id"]}).mappings().one()
            audit.write(connection, by, "token.revoke", row["id"], owner=row["owner"])
        return TokenRecord(**_fields(row))


def rotate(database: Database, token: str, how: Rotation, by: Actor) -> TokenIssued:
    """
    Replace *token* by a new one; the old one ends after the grace period.

    Raises:
        NotFound: no token has this id.
        Conflict: it has ended, or was rotated before.
    """
    secret, new = new_secret(), new_id()
    with database.begin() as connection:
        row = _locked(connection, token)
        _refuse_a_second_rotation(row)
        ids = {"old": row["id"], "new": new}
        made = {"sha256": hashed(secret), "by": by.owner}
        issued = connection.execute(_SUCCEED, {**ids, **made}).mappings().one()
        ends_at = connection.execute(_END_SOON, {**ids, "grace_s": how.grace_s}).scalar_one()
        told = {"owner": row["owner"], "successor": str(new)}
        audit.write(connection, by, "token.rotate", row["id"], **told)
    return TokenIssued(**_fields(issued), secret=secret, predecessor_ends_at=ends_at)


def _again(connection: Connection, asked: TokenRequest, values: dict[str, Any]) -> Any:
    row = connection.execute(_OF_KEY, values).mappings().one()
    key = values["idempotency_key"]
    if any(row[name] != value for name, value in asked.model_dump().items()):
        raise IdempotencyReuse(
            f"idempotency key {key!r} came with another body before, for token {row['id']}; "
            "send the same body again, or a new key for a new token",
            [FieldProblem("Idempotency-Key", "one key, one body")],
        )
    if row["state"] != "active" or row["last_used_at"] is not None:
        raise Conflict(
            f"idempotency key {key!r} made token {row['id']}, whose secret was shown and used; "
            "rotate that token, or send a new key for a new one"
        )
    renewed = {"sha256": values["sha256"], "id": row["id"]}
    return connection.execute(_NEW_SECRET, renewed).mappings().one()


def _locked(connection: Connection, token: str) -> Any:
    key = parse_id(token, "token")
    connection.execute(_ONE_BY_ONE)
    row = connection.execute(_LOCKED, {"id": key}).mappings().first()
    if row is None:
        raise NotFound(f"there is no token {token!r}; the list of tokens has all")
    return row


def _refuse_the_last_admin(connection: Connection, row: Any) -> None:
    if "admin" not in row["scopes"] or row["state"] != "active":
        return
    if connection.execute(_OTHER_ADMINS, {"id": row["id"]}).scalar_one() == 0:
        raise Conflict(
            f"token {row['id']} is the last admin token: nobody could make another over HTTP; "
            "make one first (normlab token create OWNER --scope admin), or rotate this one"
        )


def _refuse_a_second_rotation(row: Any) -> None:
    if row["successor"] is not None:
        raise Conflict(
            f"token {row['id']} was rotated already, and ends at {row['expires_at'].isoformat()}; "
            f"rotate its successor {row['successor']}"
        )
    if row["state"] != "active":
        raise Conflict(f"token {row['id']} is {row['state']}; make a new one instead")


def _fields(row: Any) -> dict[str, Any]:
    shown = {name: row[name] for name in TokenRecord.model_fields}
    successor = shown["successor"]
    return {**shown, "id": str(row["id"]), "successor": successor and str(successor)}
