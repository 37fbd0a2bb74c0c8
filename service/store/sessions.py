"""Sessions of browsers: each has a random id of its own, and ends with its token."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from normlab.errors import NotFound, ServiceUnavailable
from normlab.plain_text import shown
from service.store import audit
from service.store.audit import Actor
from service.store.database import Database
from service.store.identity import new_id, parse_id
from service.store.tokens import USED_EVERY_S, Token, hashed, new_secret, token_of

_LONGEST_AGENT = 200
_BEGIN = text("""
    insert into session (sha256, id, token_sha256, owner, agent, expires_at)
    values (:sha256, :id, :token_sha256, :owner, :agent,
        clock_timestamp() + make_interval(secs => :lasts_s))
""")
_LEFT = """
    extract(epoch from least(s.expires_at, s.seen_at + make_interval(secs => :idle_s))
        - clock_timestamp())
"""
_FIND = text(f"""
    select s.id as session, s.owner as holder, s.token_sha256, s.ended_at,
        {_LEFT} as session_left_s,
        extract(epoch from clock_timestamp() - s.seen_at) as unseen_s,
        t.id, t.owner, t.scopes, t.revoked_at, t.expires_at,
        extract(epoch from t.expires_at - clock_timestamp()) as left_s
    from session s left join token t on t.sha256 = s.token_sha256 where s.sha256 = :sha256
""")
_SEEN = text("""
    update session set seen_at = clock_timestamp()
    where id in (select id from session where id = :id for update skip locked)
""")
_END = text("""
    update session set ended_at = clock_timestamp() where id = :id and ended_at is null
""")
_OPEN = text(f"""
    select s.id, s.owner, s.agent, s.created_at, s.seen_at, s.expires_at, t.scopes
    from session s left join token t on t.sha256 = s.token_sha256
    where s.owner = :owner and s.ended_at is null and {_LEFT} > 0 and t.revoked_at is null
        and (t.expires_at is null or t.expires_at > clock_timestamp())
    order by s.created_at desc
""")
_TRIM = text("""
    delete from session where least(ended_at, expires_at) < clock_timestamp() - interval '1 day'
""")


@dataclass(frozen=True)
class BrowserSession:
    """
    A browser's session.

    Args:
        left_s: the seconds until its end, if it makes no request until then.
        token: the token of its login; None: the operator's token, which has no row.
    """

    id: UUID
    owner: str
    left_s: float
    token: Token | None
    token_sha256: bytes


@dataclass(frozen=True)
class OpenSession:
    """A session as its owner sees it; *scopes* are None for a login with the operator's token."""

    id: UUID
    owner: str
    agent: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    scopes: Sequence[str] | None


def begin(database: Database, token: str, by: Actor, agent: str, lasts_s: float) -> str:
    """Begin a session of the owner of *token*; return its id, which is shown only now."""
    secret, session = new_secret(), new_id()
    values = {"sha256": hashed(secret), "id": session, "token_sha256": hashed(token)}
    values |= {"owner": by.owner, "agent": shown(agent)[:_LONGEST_AGENT], "lasts_s": lasts_s}
    with database.begin() as connection:
        connection.execute(_BEGIN, values)
        audit.write(connection, by, "session.login", session)
    return secret


def find(database: Database, secret: str, idle_s: float) -> BrowserSession | None:
    """Return the session of *secret*, even if its token has ended; None if the session ended."""
    with database.autocommit() as connection:
        values = {"sha256": hashed(secret), "idle_s": idle_s}
        row = connection.execute(_FIND, values).first()
    if row is None or row.ended_at is not None or row.session_left_s <= 0:
        return None
    if row.unseen_s >= USED_EVERY_S:
        _note_seen(database, row.session)
    token = None if row.id is None else token_of(row)
    left_s = float(row.session_left_s)
    return BrowserSession(row.session, row.holder, left_s, token, bytes(row.token_sha256))


def end(database: Database, session: UUID, by: Actor) -> None:
    """End the caller's own session at logout."""
    with database.begin() as connection:
        if connection.execute(_END, {"id": session}).rowcount:
            audit.write(connection, by, "session.logout", session)


def open_of(database: Database, owner: str, idle_s: float) -> list[OpenSession]:
    """List the open sessions of *owner*, newest first."""
    with database.autocommit() as connection:
        rows = connection.execute(_OPEN, {"owner": owner, "idle_s": idle_s}).mappings()
        return [OpenSession(**row) for row in rows]


def end_other(database: Database, session: str, by: Actor, idle_s: float) -> None:
    """End another open session of the same owner; raise NotFound if there is none with this id."""
    key = parse_id(session, "session")
    if key not in {one.id for one in open_of(database, by.owner, idle_s)}:
        raise NotFound(f"{by.owner!r} has no open session {session!r}; /account lists them")
    with database.begin() as connection:
        if connection.execute(_END, {"id": key}).rowcount:
            audit.write(connection, by, "session.end", key)


def trim(database: Database) -> int:
    """Delete the sessions that ended more than a day ago; return how many."""
    with database.begin() as connection:
        return connection.execute(_TRIM).rowcount


def _note_seen(database: Database, session: UUID) -> None:
    # Reading must work even if the database accepts no writes
    with suppress(ServiceUnavailable), database.autocommit() as connection:
        connection.execute(_SEEN, {"id": session})
