"""Packs that return: one that was drained or lost is claimed with the members that it had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from service.jobs.leases import Lease
from service.jobs.turns import CLAIMABLE, RETURNS

_PACK = text("select pack from attempt where job = :job and number = :attempt")
_NAME = text("update attempt set pack = :pack where job = :job and number = :attempt")
_THERE = f"""
    state = 'queued' and {RETURNS}
    and (id, attempt) in (select a.job, a.number from attempt a where a.pack = :pack)
"""
_COUNT = text(f"select count(*) from job where {_THERE}")
_READY = text(f"""
    select id from job where {_THERE} and {CLAIMABLE}
    order by priority desc, created_at, id for update skip locked
""")
_SAVED = text("""
    select job, array_agg(step) as steps from artifact
    where kind = 'checkpoint' and job = any(:jobs) group by job
""")


@dataclass(frozen=True)
class Company:
    """The other members (mates) of a job's last pack, all of which can be claimed now."""

    jobs: Sequence[UUID]
    step: int | None
    """The update of the newest checkpoint that all of them have; None: they have none."""

    def resuming(self, lease: Lease) -> Lease:
        """Return *lease* from the common checkpoint; members with a later one repeat some steps."""
        if self.step is None:
            return lease
        return replace(lease, resume=tuple(c for c in lease.resume if c.step <= self.step))


def company_of(connection: Connection, head: Lease, room: Mapping[str, Any]) -> Company | None:
    """
    Return the jobs that were in a pack with *head* before, locked; None: not all can be claimed.

    Args:
        room: the parameters of `turns.CLAIMABLE`.
    """
    this = {"job": head.job, "attempt": head.attempt}
    pack = {"pack": connection.execute(_PACK, this).scalar()}
    if pack["pack"] is None:
        return None
    ready = connection.execute(_READY, {**room, **pack}).scalars().all()
    if not ready or len(ready) < connection.execute(_COUNT, pack).scalar_one():
        return None
    return _from_one_update(connection, head, ready)


def name_pack(connection: Connection, head: Lease) -> None:
    """Record that *head* and its mates are trained as one pack, or that it is trained alone."""
    pack = uuid4() if head.mates else None
    for lease in (head, *head.mates):
        values = {"pack": pack, "job": lease.job, "attempt": lease.attempt}
        connection.execute(_NAME, values)


def _from_one_update(connection: Connection, head: Lease, mates: Sequence[UUID]) -> Company | None:
    rows = connection.execute(_SAVED, {"jobs": [head.job, *mates]}).all()
    if not rows:
        return Company(mates, None)
    common = set.intersection(*(set(row.steps) for row in rows))
    if len(rows) <= len(mates) or not common:
        return None
    return Company(mates, max(common))
