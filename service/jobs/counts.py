"""The number of jobs of each state and device, without counting them."""

from __future__ import annotations

from sqlalchemy import text

from service.store.database import Database

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
    """Add what triggers have noted since the last time to the counts; return how many notes."""
    with database.autocommit() as connection:
        return int(connection.execute(_ADD_UP).scalar_one())
