"""The current state of a stack: numbers of jobs, their waiting times, leases, silent workers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from service.jobs.records import HELD
from service.store.database import Database

_MAY_START = f"state = 'queued' and not cancel_requested and not {HELD}"
# Each part reads only the first rows of an index, because many jobs may wait in a large store.
_BY_DEVICE = text(f"""
    with of as (
        select device from job_count union select device from job_move
    )
    select of.device,
        extract(epoch from clock_timestamp() - least(waits.since, paused.since))::float8 as waits_s,
        extract(epoch from (
            select min(lease_until) from job where state = 'running' and device = of.device
        ) - clock_timestamp())::float8 as lease_left_s
    from of left join lateral (
        select created_at as since from job
        where {_MAY_START} and not_before is null and device = of.device
        order by created_at limit 1
    ) as waits on true left join lateral (
        select min(greatest(created_at, not_before)) as since from job
        where {_MAY_START} and not_before is not null and device = of.device
    ) as paused on true
    order by device
""")
_BY_WORKER = text("""
    select id, device, extract(epoch from clock_timestamp() - seen_at)::float8 as silent_s,
        coalesce((facts ->> 'ingest_lag_s')::float8, 0) as ingest_lag_s
    from worker where seen_at > clock_timestamp() - interval '1 hour' order by device, id
""")
_SIZE = text("select pg_database_size(current_database())")


def by_device(database: Database) -> list[Any]:
    """Return per device how long its oldest job has waited, and the shortest remaining lease."""
    with database.autocommit() as connection:
        return list(connection.execute(_BY_DEVICE))


def by_worker(database: Database) -> list[Any]:
    """Return for each recent worker how long it has been silent, and its unwritten results."""
    with database.autocommit() as connection:
        return list(connection.execute(_BY_WORKER))


def database_bytes(database: Database) -> int:
    """Return the size of the database."""
    with database.autocommit() as connection:
        return int(connection.execute(_SIZE).scalar_one())


_COUNTS = text("""
    select state, device, sum(n)::bigint as n
    from (select * from job_count union all select * from job_move) as counted
    group by 1, 2 having sum(n) <> 0 order by 1, 2
""")
_ADD_UP = text("""
    with gone as (
        delete from job_move returning state, device, n
    ), added as (
        insert into job_count (state, device, n)
        select state, device, sum(n) from gone group by 1, 2 order by 1, 2
        on conflict (state, device) do update set n = job_count.n + excluded.n
    )
    select count(*) from gone
""")


def by_state(database: Database) -> dict[tuple[str, str], int]:
    """Count the jobs of each state and device that are not in the trash."""
    with database.autocommit() as connection:
        return {(row.state, row.device): row.n for row in connection.execute(_COUNTS)}


def add_up(database: Database) -> int:
    """Add the changes that triggers recorded since the last call to the counts; return how many."""
    with database.autocommit() as connection:
        return int(connection.execute(_ADD_UP).scalar_one())
