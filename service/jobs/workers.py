"""The heartbeats of workers, and the kinds of device that they serve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import text

from normlab import __version__
from normlab.records import DeviceRecord, WorkerRecord
from normlab.specs import device_rules, devices as table
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import BY_KIND
from service.store import events, releases
from service.store.database import Database, newest_revision

_BEAT = text("""
    insert into worker (id, device, hostname, slots, busy, description, memory_bytes, versions,
        facts, version, revision, seen_at, live_until)
    values (:id, :device, :hostname, :slots, :busy, :description, :memory_bytes,
        cast(:versions as jsonb), cast(:facts as jsonb), :version, :revision, clock_timestamp(),
        clock_timestamp() + make_interval(secs => :silence_s))
    on conflict (id) do update set device = excluded.device, hostname = excluded.hostname,
        slots = excluded.slots, busy = excluded.busy, description = excluded.description,
        memory_bytes = excluded.memory_bytes, versions = excluded.versions,
        facts = excluded.facts, version = excluded.version, revision = excluded.revision,
        lost_at = null, seen_at = excluded.seen_at, live_until = excluded.live_until
""")
_LEAVE = text("delete from worker where id = :id")
# The worker is gone: its offer is withdrawn, and the leader of its seat need not wait for silence.
_STAND_UP = text("""
    with withdrawn as (delete from seat where worker = :id and job is null)
    update seat set live_until = clock_timestamp() where worker = :id and job is not null
""")
# Rows of workers that died without signing off are deleted after a day.
_FORGET = text("delete from worker where seen_at < clock_timestamp() - interval '1 day'")
# With the release that serves them: a submission reads both in one round trip
_LIVE = text(f"""
    select {releases.SERVES},
        id, device, hostname, slots, busy, description, memory_bytes, versions,
        version, revision,
        coalesce((facts ->> 'able')::boolean, true) as able,
        coalesce(facts ->> 'device', '') as why, facts ->> 'address' as address,
        (select coalesce(jsonb_object_agg(p.name, l.value), '{{}}')
            from jsonb_each_text(loads) l
            join plugin p on p.digest = l.key where p.in_force and l.value <> '') as cannot_load,
        extract(epoch from clock_timestamp() - seen_at)::float8 as last_seen_s
    from worker where live_until > clock_timestamp() order by device, id
""")
_ROOMS = text(
    "select memory_bytes from worker where :device = 'auto' or device = cast(:device as text)"
)
_FACTS = text("select id, facts from worker where live_until > clock_timestamp() order by id")
_LOAD = text("""
    select device, count(*) filter (where state = 'queued') as queued,
        count(*) filter (where state = 'running') as running
    from job where state in ('queued', 'running') and trashed_at is null group by device
""")


def beat(
    database: Database,
    *,
    worker: str,
    device: str,
    hostname: str,
    slots: int,
    busy: int,
    description: str,
    memory_bytes: int | None,
    versions: Mapping[str, str],
    facts: Mapping[str, Any] | None = None,
    silence_s: float = 15.0,
    version: str | None = __version__,
    revision: str | None = newest_revision(),
) -> None:
    """
    Record a heartbeat of *worker*.

    Args:
        facts: further facts about its host for the operator.
        silence_s: it counts as gone after this time without another heartbeat.
        version: the version of normlab there.
        revision: the revision of the schema that it knows.
    """
    values = {
        "id": worker,
        "device": device,
        "hostname": hostname,
        "slots": slots,
        "busy": busy,
        "description": description,
        "memory_bytes": memory_bytes,
        "versions": events.to_json(dict(versions)),
        "facts": events.to_json(dict(facts or {})),
        "silence_s": silence_s,
        "version": version,
        "revision": revision,
    }
    with database.begin() as connection:
        connection.execute(_BEAT, values)


def leave(database: Database, worker: str) -> None:
    """Record that *worker* has left."""
    with database.begin() as connection:
        connection.execute(_STAND_UP, {"id": worker})
        connection.execute(_LEAVE, {"id": worker})
        connection.execute(_FORGET)


def live(database: Database) -> list[WorkerRecord]:
    """Return the live workers, by device."""
    with database.autocommit() as connection:
        return _records(connection.execute(_LIVE).mappings())


def _records(rows: Iterable[Any]) -> list[WorkerRecord]:
    return [WorkerRecord.model_validate({**row, **_skew(row)}) for row in rows]


def _skew(row: Any) -> dict[str, Any]:
    serves = row["needed_revision"], row["api_version"]
    reason = releases.refusal(row["version"], row["revision"], serves)
    return {} if reason is None else {"able": False, "why": reason}


def rooms(database: Database, device: str) -> list[int | None]:
    """Return the memory of each live or recent worker for *device*; `auto` means any device."""
    with database.autocommit() as connection:
        return list(connection.execute(_ROOMS, {"device": device}).scalars())


def facts(database: Database) -> dict[str, dict[str, Any]]:
    """Return the facts that each live worker reports about its host."""
    with database.autocommit() as connection:
        return {row.id: row.facts for row in connection.execute(_FACTS)}


def devices(database: Database) -> list[DeviceRecord]:
    """Return every kind of device: its live workers, and the number of queued and running jobs."""
    with database.autocommit() as connection:
        workers = _records(connection.execute(_LIVE).mappings())
        load = {row.device: row for row in connection.execute(_LOAD)}
    return [_device(kind, workers, load.get(kind)) for kind in table.DEVICES]


def _device(kind: str, workers: list[WorkerRecord], load: Any) -> DeviceRecord:
    serving = [worker for worker in workers if worker.device == kind]
    slots = sum(worker.slots for worker in serving)
    facts = table.DEVICES[kind]
    idle = sum(not worker.able for worker in serving)
    hosts = len({worker.address or worker.id for worker in serving})
    reason = (
        f"{len(serving)} live, {slots} {'slot' if slots == 1 else 'slots'} in all"
        + (f", on {hosts} hosts" if hosts > 1 else "")
        + (f"; {idle} of them take no jobs, for the reasons below" if idle else "")
        if serving
        else f"no worker for {kind} is live; start one with: python -m workers --device {kind}"
    )
    return DeviceRecord(
        kind=kind,
        available=bool(serving),
        reason=reason,
        queued=load.queued if load else 0,
        running=load.running if load else 0,
        normalizers=_normalizers(kind),
        precisions=list(facts.precisions),
        replicas=facts.replicas,
        workers=serving,
    )


def _normalizers(device: str) -> list[str]:
    jobs = {kind: JobSpec(normalizer=kind) for kind in BY_KIND}
    return [kind for kind, job in jobs.items() if not device_rules.problems(job, device)]
