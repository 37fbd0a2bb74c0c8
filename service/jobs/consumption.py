"""
The resources that owners and projects use: running jobs, devices, device time, storage.

Device time and storage are added up when attempts end. So checking a limit on them does not read
all jobs, and what a purged job has used still counts. Each sum is in many rows, as counts are
(`service.jobs.tallies`), so that workers of one owner do not wait for each other. The use of
running attempts is added at each query. The jobs of a pack share the time of its devices. A month
is a calendar month in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import Connection, text

from service.jobs.tallies import SHARD

_REPLICAS = "coalesce((j.spec ->> 'replicas')::int, 1)"
_DEVICES = f"{_REPLICAS} / greatest(1, coalesce((a.environment ->> 'packed')::double precision, 1))"
_MONTH = "date_trunc('month', clock_timestamp() at time zone 'UTC')"
BYTES = """
    ((select coalesce(sum(bytes), 0) from artifact where artifact.job = j.id)
    + (select coalesce(sum(octet_length(steps) + octet_length(vals) + octet_length(times)), 0)
        from metric_chunk where metric_chunk.job = j.id)
    + (select coalesce(sum(size), 0) from log_segment where log_segment.job = j.id))::bigint
"""
"""In SQL: what the job *j* stores now, in files, curves and the log."""

_RUNNING = "from job j where j.state = 'running' and j.{subject} = {name}"
USED: Mapping[str, str] = {
    "running": f"(select count(*) {_RUNNING})",
    "devices": f"(select coalesce(sum({_REPLICAS}), 0) {_RUNNING})",
    "device_hours_per_month": f"""
        (((select coalesce(sum(device_s), 0) from device_time
            where {{subject}} = {{name}} and month = {_MONTH}::date)
        + (select coalesce(sum({_DEVICES} * greatest(0, extract(epoch from
                clock_timestamp() - greatest(a.started_at, {_MONTH} at time zone 'UTC')))), 0)
            from job j join attempt a on a.job = j.id and a.number = j.attempt
            where j.state = 'running' and j.{{subject}} = {{name}})) / 3600)
    """,
    "storage_bytes": f"""
        ((select coalesce(sum(bytes), 0) from storage where {{subject}} = {{name}})
        + (select coalesce(sum({BYTES} - j.stored_bytes), 0) {_RUNNING}))
    """,
}
"""In SQL: what the owner or project *name* uses now; storage in bytes of files, curves and logs."""

SPEND = f"""
    insert into device_time (owner, project, month, shard, device_s)
    select j.owner, j.project, m::date, {SHARD}, {_DEVICES} * greatest(0, extract(epoch from
        least(a.ended_at, (m + interval '1 month') at time zone 'UTC')
        - greatest(a.started_at, m at time zone 'UTC')))
    from {{source}} a join job j on j.id = a.job, generate_series(
        date_trunc('month', a.started_at at time zone 'UTC'), a.ended_at at time zone 'UTC',
        interval '1 month') m
    on conflict (owner, project, month, shard)
        do update set device_s = device_time.device_s + excluded.device_s
"""
"""A part of another statement: it counts the ended attempts of *source*."""

_ADD = "on conflict (owner, project, shard) do update set bytes = storage.bytes + excluded.bytes"
_RECOUNT = text(f"""
    with held as (
        select j.id, j.owner, j.project, j.stored_bytes as before, {BYTES} as now
        from job j where j.id = :job
    ), added as (
        insert into storage (owner, project, shard, bytes)
        select owner, project, {SHARD}, now - before from held where now <> before
        {_ADD}
    )
    update job set stored_bytes = held.now from held
    where job.id = held.id and held.now <> held.before
""")
DELETE = text(f"""
    with gone as (delete from job where id = :job returning owner, project, stored_bytes)
    insert into storage (owner, project, shard, bytes)
    select owner, project, {SHARD}, - stored_bytes from gone
    {_ADD}
""")
"""Delete a job, with what it stores."""


def recount(connection: Connection, job: UUID) -> None:
    """Recompute how much *job*, which is locked, stores."""
    connection.execute(_RECOUNT, {"job": job})
