"""Send messages again for unclaimed jobs: a lost message delays a job but never loses it."""

from __future__ import annotations

from sqlalchemy import text

from service.jobs.doorbell import Doorbell
from service.jobs.records import HELD
from service.store.database import Database

# No more messages than idle slots, or a long queue would flood the broker. Several relays divide
# the jobs by skipping those that another relay has locked.
_DUE = text(f"""
    with idle as (
        select device, sum(slots - busy) as slots from worker
        where live_until > clock_timestamp() group by device
    ), waiting as (
        select id, device, row_number() over (
            partition by device order by priority desc, created_at) as place
        from job
        where state = 'queued' and not cancel_requested and not {HELD}
          and (not_before is null or not_before <= clock_timestamp())
          and greatest(rung_at, created_at) < clock_timestamp() - make_interval(secs => :ring_s)
    ), due as (
        select id from job where state = 'queued' and id in (
            select w.id from waiting w join idle i using (device) where w.place <= i.slots)
        for update skip locked
    )
    update job set rung_at = clock_timestamp() from due where job.id = due.id
    returning job.device
""")


class Relay:
    """Sends a message for each queued job again after *ring_s*; any number of relays may run."""

    def __init__(self, database: Database, doorbell: Doorbell, ring_s: float) -> None:
        self._database = database
        self._doorbell = doorbell
        self._ring_s = ring_s

    def round(self) -> int:
        """Send a message for each job that is due; return their number."""
        with self._database.begin() as connection:
            devices = connection.execute(_DUE, {"ring_s": self._ring_s}).scalars().all()
        for device in devices:
            self._doorbell.ring(device)
        return len(devices)
