"""
The slots that cells of a study may expect: idle ones, and those that become free.

Times are those of the model of costs. So only their ratios count, as for the gain of a pack, and
they need no measured speed of the host.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.specs.costs import job_s
from normlab.specs.jobs import JobSpec
from normlab.specs.pack_sizes import pack_s
from normlab.specs.sizes import steps

# Of each pack, a member with fewest updates made speaks for all.
_BUSY = text("""
    select spec, step, members from (
        select j.spec, j.step, a.started_at, count(*) over slot as members,
            row_number() over (slot order by j.step, j.id) as place
        from job j join attempt a on a.job = j.id and a.number = j.attempt
        where j.state = 'running' and j.device = :device and j.id <> :job
        window slot as (partition by coalesce(a.pack, a.job))
    ) running where place = 1 order by started_at limit :most
""")


def rest_s(spec: JobSpec, step: int) -> float | None:
    """Return the seconds of such a job alone, after *step* of its updates; None: unknown."""
    all_steps = steps(spec)
    return None if all_steps is None else job_s(spec, max(0, all_steps - step))


def busy_for_s(connection: Connection, device: str, but: UUID, most: int) -> list[float]:
    """
    Return in how many seconds busy slots for *device* become free, in order, where it is known.

    Args:
        but: a job that runs, and whose slot does not count.
        most: slots that are looked at.
    """
    rows = connection.execute(_BUSY, {"device": device, "job": but, "most": most})
    known = [_left_s(row) for row in rows]
    return sorted(left_s for left_s in known if left_s is not None)


def _left_s(row: Any) -> float | None:
    try:
        spec = JobSpec.from_store(row.spec)
    except ValueError:  # of a kind that is no more: nobody knows what it costs
        return None
    left_s = rest_s(spec, row.step)
    return None if left_s is None else pack_s(spec, row.members, left_s)
