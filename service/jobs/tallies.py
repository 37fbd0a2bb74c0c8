"""Counts that only grow, for monitoring; in the database, as many processes add to them."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import text

from service.store.database import Database

FENCED = "fenced"
"""Attempts that lost their job while their worker still worked on it."""

# A count is a sum of rows, because a transaction that adds to a row locks it until it has ended:
# with one row, all workers that end a job at the same time would wait for each other.
SHARD = "pg_backend_pid() % 256"
"""The number of the row to which a connection adds."""
_ADD = "on conflict (name, device, outcome, failure_kind, shard) do update set n = tally.n + 1"
ATTEMPT = f"""
    insert into tally (name, device, outcome, failure_kind, shard, n)
    select 'attempt', device, :outcome, coalesce(cast(:failure_kind as text), ''), {SHARD}, 1
    from {{source}}
    {_ADD}
"""
"""A part of another statement: it counts an ended attempt; *source* has the device."""

_COUNT = text(f"""
    insert into tally (name, device, outcome, failure_kind, shard, n)
    values (:name, :device, '', '', {SHARD}, 1)
    {_ADD}
""")
_ALL = text("""
    select name, device, outcome, failure_kind, sum(n)::bigint as n from tally
    group by 1, 2, 3, 4 order by 1, 2, 3, 4
""")


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
