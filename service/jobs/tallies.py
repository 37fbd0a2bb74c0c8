"""Counts that only grow, for monitoring; in the database, as many processes add to them."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import text

from service.store.database import Database

FENCED = "fenced"
"""Attempts that lost their job while their worker still worked on it."""

ATTEMPT = """
    insert into tally (name, device, outcome, failure_kind, n)
    select 'attempt', device, :outcome, coalesce(cast(:failure_kind as text), ''), 1 from {source}
    on conflict (name, device, outcome, failure_kind) do update set n = tally.n + 1
"""
"""As a part of another statement: an attempt has ended; *source* has the device."""

_COUNT = text("""
    insert into tally (name, device, outcome, failure_kind, n) values (:name, :device, '', '', 1)
    on conflict (name, device, outcome, failure_kind) do update set n = tally.n + 1
""")
_ALL = text("select name, device, outcome, failure_kind, n from tally order by 1, 2, 3, 4")


class Tally(NamedTuple):
    """One count."""

    name: str
    device: str
    outcome: str
    failure_kind: str
    n: int


def count(database: Database, name: str, device: str) -> None:
    """Add one to the count *name*."""
    with database.autocommit() as connection:
        connection.execute(_COUNT, {"name": name, "device": device})


def read_all(database: Database) -> list[Tally]:
    """Return all counts."""
    with database.autocommit() as connection:
        return [Tally(*row) for row in connection.execute(_ALL)]
