"""
Turns: which queued job is next for a worker, by priority, then fairly by owner, then by age.

The last bits of a member's results depend on the other members of its pack. So a pack that was
drained or lost continues as the same pack. Its members return to the queue one by one, within
moments. None of them is claimed before all have returned; then the claim of the first one also
claims the others (its mates).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, text

from normlab.specs.pack_sizes import MOST
from service.jobs.records import HELD
from service.jobs.running_limits import LIMITED, Held, refusal
from service.plugins.abilities import REQUIRED, Ability

T = TypeVar("T")


def _returns(job: str, attempt: str) -> str:
    """Return: *attempt* is the last one of *job*, and may continue as the same pack."""
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
"""The condition that a mate of a returning job has not returned yet, or will claim the job too."""

CLAIMABLE = (
    f"state = 'queued' and device = :device and not cancel_requested and not {HELD}"
    " and attempt - forgiven < max_attempts"
    " and (not_before is null or not_before <= clock_timestamp())"
    " and (cast(:most_replicas as int) is null"
    " or coalesce((spec ->> 'replicas')::int, 1) / hosts <= cast(:most_replicas as int))"
    " and hosts <= :most_hosts"
    f" and not {REQUIRED} && cast(:unloadable as text[])"
    " and not project = any(cast(:full as text[]))"
)
# Owners in fair order: by priority, then fewest running jobs, then longest wait.
_TURNS = text(f"""
    select t.owner, head.priority, {LIMITED} as limited
    from turn t
    cross join lateral (
        select priority, created_at from job
        where owner = t.owner and {CLAIMABLE} and not {WAITS}
        order by priority desc, created_at, id limit 1
    ) head
    left join (
        select owner, count(*) as running from job
        where state = 'running' and device = :device group by owner
    ) busy on busy.owner = t.owner
    where t.device = :device
    order by head.priority desc, coalesce(busy.running, 0), t.served_at nulls first,
        head.created_at
""")
_HEAD = text(f"""
    select id, {REQUIRED} as code, hosts, project,
        coalesce((spec ->> 'replicas')::int, 1) as replicas,
        coalesce((spec ->> 'replicas')::int, 1) / hosts as each from job
    where owner = :owner and priority = :priority and {CLAIMABLE} and not {WAITS}
    order by created_at, id limit 1 for update skip locked
""")


@dataclass(frozen=True)
class Unjudged:
    """The code of the next job, which the worker must first try to load."""

    code: Sequence[str]


def judging(ability: Ability | None, find: Callable[[Sequence[str]], T | Unjudged]) -> T:
    """
    Return the result of *find*, which is called with the plugins that the worker cannot load.

    Whenever *find* meets a job with plugins that nobody has tried to load, they are tried outside
    of its transaction, and *find* is called again.
    """
    unloadable = set(ability.unloadable()) if ability is not None else set()
    while isinstance(found := find([*unloadable]), Unjudged):
        if ability is not None:
            unloadable |= {*ability.judge(found.code)}
    return found


def in_turn(
    connection: Connection,
    room: Mapping[str, Any],
    ability: Ability | None,
    accept: Callable[[Any], T],
) -> T | Unjudged | None:
    """
    Lock claimable jobs in their order, until *accept* returns something for one; return that.

    If it returns None for a job, it must have taken that job from the queue. Jobs beyond a limit on
    running jobs keep their place in the queue.

    Args:
        room: the device, the most replicas (per host) and hosts that a job may have, and the
            plugins that it may not use; in `full` the projects that may not start another one.
    """
    room = {"full": [], **room}
    for turn in connection.execute(_TURNS, room).all():
        values = {**room, "owner": turn.owner, "priority": turn.priority}
        while (job := connection.execute(_HEAD, values).first()) is not None:
            if ability is not None and ability.unjudged(job.code):
                return Unjudged(job.code)
            held = _held(connection, turn, job)
            if held is not None and held.subject == "project":
                # its owner may have another job, of a lower priority, in another project
                full = [*room["full"], job.project]
                return in_turn(connection, {**room, "full": full}, ability, accept)
            if held is not None:
                break
            accepted = accept(job)
            if accepted is not None:
                return accepted
    return None


def _held(connection: Connection, turn: Any, job: Any) -> Held | None:
    if not turn.limited:
        return None
    return refusal(connection, turn.owner, job.project, job.replicas)
