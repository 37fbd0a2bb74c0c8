"""
In SQL: which queued jobs come back to the pack that they were in, and which of them wait for it.

Members' numbers depend in their last bits on their company, so a pack that was drained or lost goes
on as the same pack. Its members are given back one by one, within moments: none is taken before all
are there, and then the first one is taken, which takes the others along.
"""

from __future__ import annotations

from normlab.specs.pack_sizes import MOST


def _returns(job: str, attempt: str) -> str:
    """Return that *attempt* is the last one of *job*, and may be continued as the pack it was."""
    return f"""
        {attempt}.job = {job}.id and {attempt}.number = {job}.attempt
        and {job}.attempt = {job}.forgiven and {attempt}.outcome = 'released'
        and {attempt}.pack is not null and coalesce({job}.pack_limit, {MOST}) >= (
            select count(distinct each.job) from attempt each where each.pack = {attempt}.pack
        )
    """


RETURNS = f"""
    (job.attempt > 0 and exists (select from attempt own where {_returns("job", "own")}))
"""
"""The condition that a queued job's pack was given back and may have as many members again."""

_COMES_FIRST = """
    other.state = 'queued' and (other.priority > job.priority or (
        other.priority = job.priority and (other.created_at, other.id) < (job.created_at, job.id)
    ))
"""
WAITS = f"""
    (job.attempt > 0 and exists (
        select from attempt own
        join attempt mate on mate.pack = own.pack and mate.job <> own.job
        join job other on other.id = mate.job
        where {_returns("job", "own")} and (
            mate.ended_at is null or ({_returns("other", "mate")} and {_COMES_FIRST})
        )
    ))
"""
"""The condition that a mate of a returning job is not given back yet, or will take it along."""
