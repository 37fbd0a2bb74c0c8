"""The audit trail: who did what, written in the same transaction, without secrets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.records.access import AuditPage, AuditRecord
from service.store.cursors import decode_cursor, encode_cursor
from service.store.database import Database
from service.store.events import to_json

Action = Literal[
    "job.submit", "job.cancel", "job.retry", "job.delete", "job.restore", "job.label",
    "job.expire",
    "study.create", "study.extend", "study.complete", "study.pause", "study.resume",
    "study.cancel", "study.priority", "study.delete", "study.restore", "study.label", "trash.empty",
    "token.create", "token.revoke", "token.rotate",
    "plugin.upload",
    "limits.set",
    "project.create", "project.add", "project.remove", "project.keep",
    "session.login", "session.logout", "session.end",
    "token.guessed",
]  # fmt: skip
ACTIONS: tuple[str, ...] = get_args(Action)
_ORDER = "audit"
_AT_ONCE = 10_000  # the most rows that one round deletes

WRITE = """
    insert into audit (owner, token, action, target)
    select %(by_owner)s, %(by_token)s, '{action}', {target} from {source}
    where %(by_owner)s::text is not null
"""
"""A part of another statement, for the driver's own cursor; its values are `Actor.values`."""

_WRITE = text("""
    insert into audit (owner, token, action, target, details)
    values (:owner, :token, :action, :target, cast(:details as jsonb))
""")
_PAGE = text("""
    select * from audit
    where (cast(:before as bigint) is null or seq < :before)
        and (cast(:owner as text) is null or owner = :owner)
        and (cast(:action as text) is null or action = :action)
        and (cast(:since as timestamptz) is null or at >= :since)
        and (cast(:until as timestamptz) is null or at < :until)
    order by seq desc limit :limit
""")
# The oldest come first, so that the index finds them without looking at the others
_TRIM = text("""
    delete from audit where seq in (select seq from audit order by seq limit :limit)
        and at < clock_timestamp() - make_interval(days => :days)
""")


@dataclass(frozen=True)
class Actor:
    """Who does something: an owner, and the token that was used."""

    owner: str
    token: UUID | None = None

    @staticmethod
    def values(actor: Actor | None) -> dict[str, Any]:
        """Return the parameters of `WRITE`; without an actor it writes nothing."""
        return {
            "by_owner": actor.owner if actor else None,
            "by_token": actor.token if actor else None,
        }


def write(
    connection: Connection,
    actor: Actor | None,
    action: Action,
    target: object = None,
    **details: Any,
) -> None:
    """Record that *actor* did *action*, in the same transaction; do nothing for None."""
    if actor is not None:
        _insert(connection, actor.owner, actor.token, action, target, details)


def write_guess(database: Database, client: str, in_a_row: int) -> None:
    """Record that *client*, which is not authenticated, has sent many wrong tokens."""
    with database.begin() as connection:
        details = {"client": client, "in_a_row": in_a_row}
        _insert(connection, None, None, "token.guessed", None, details)


def _insert(
    connection: Connection,
    owner: str | None,
    token: UUID | None,
    action: Action,
    target: object,
    details: dict[str, Any],
) -> None:
    values: dict[str, Any] = {"owner": owner, "token": token, "action": action}
    values["target"] = None if target is None else str(target)
    connection.execute(_WRITE, {**values, "details": to_json(details)})


def read(
    database: Database,
    *,
    owner: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str | None = None,
    limit: int = 100,
) -> AuditPage:
    """Return one page of the audit trail, newest first."""
    before = None if cursor is None else decode_cursor(cursor, _ORDER, [int])[0]
    values = {"before": before, "owner": owner, "action": action, "since": since, "until": until}
    with database.autocommit() as connection:
        rows = connection.execute(_PAGE, {**values, "limit": limit + 1}).all()
    more = len(rows) > limit
    return AuditPage(
        records=[_record(row) for row in rows[:limit]],
        next_cursor=encode_cursor(_ORDER, [rows[limit - 1].seq]) if more else None,
    )


def trim(database: Database, days: int) -> int:
    """Delete some rows that are older than *days*; return how many."""
    with database.begin() as connection:
        return connection.execute(_TRIM, {"limit": _AT_ONCE, "days": days}).rowcount


def _record(row: Any) -> AuditRecord:
    return AuditRecord(
        seq=row.seq,
        at=row.at,
        owner=row.owner,
        token=None if row.token is None else str(row.token),
        action=row.action,
        target=row.target,
        details=row.details,
    )
