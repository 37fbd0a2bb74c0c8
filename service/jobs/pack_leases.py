"""
Claims of packs: with a job of a study, a worker also claims others that can be trained with it.

Each member has its own lease, so it is renewed, cancelled and ended like a job that runs alone.
Jobs are packed in their first attempt. After their worker was drained or their process was lost,
they are packed again with the same other members (their mates). A job that failed itself then runs
alone; if its pack failed, it runs in smaller packs, or alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.specs.jobs import JobSpec
from normlab.specs.measures import is_timing
from normlab.specs.pack_sizes import (
    MOST,
    PackSize,
    evenly,
    members_by_measure,
    members_now,
    members_of,
)
from normlab.specs.packs import group_of, layer_of, obstacle
from service.jobs import leases
from service.jobs.leases import Lease
from service.jobs.pack_measures import has_model_of_gains, measured_gains
from service.jobs.pack_returns import company_of, name_pack
from service.jobs.running_limits import refusal
from service.jobs.turns import CLAIMABLE, RETURNS
from service.store.database import Database

_CANDIDATES = 4  # jobs examined for each member that is wanted
_ENOUGH = 2048  # queued jobs that keep the slots busy; no more than this are counted
# the newest checkpoint: members train the same updates
_STEP = """
    coalesce((select max(step) from artifact
              where artifact.job = {job}.id and artifact.kind = 'checkpoint'), -1)
"""
_ASKED = text(f"""
    select coalesce(study.spec ->> 'pack', 'auto') as pack, head.study, head.project,
        head.pack_limit,
        coalesce(study.spec #>> '{{search,metric}}', study.spec #>> '{{decide,metric}}') as metric,
        {_STEP.format(job="head")} as step,
        (select coalesce(sum(slots), 1) from worker
            where device = :device and live_until > clock_timestamp())::int as slots,
        (select count(distinct coalesce(a.pack, a.job)) from job j
            join attempt a on a.job = j.id and a.number = j.attempt
            where j.state = 'running' and j.device = :device and j.id <> head.id)::int as busy,
        (select count(*) from (
            select from job where state = 'queued' and device = :device limit {_ENOUGH}
        ) waiting)::int as queued,
        exists (select from job other where other.study = head.study and other.pack_limit = 1
            and (other.normalizer, other.dataset, other.batch_size, other.device)
                = (head.normalizer, head.dataset, head.batch_size, head.device)
            and (other.spec -> 'model', other.spec -> 'precision', other.spec -> 'acceleration',
                    other.spec #> '{{optimizer,name}}')
                is not distinct from
                (head.spec -> 'model', head.spec -> 'precision', head.spec -> 'acceleration',
                    head.spec #> '{{optimizer,name}}')
        ) as fell_apart
    from job head join study on study.id = head.study
    where head.id = :job and head.attempt - 1 = head.forgiven
""")
_MATES = text(f"""
    select id, spec, {_STEP.format(job="job")} as step from job
    where study = :study and owner = :owner and normalizer = :normalizer and model = :model
        and dataset = :dataset and batch_size = :batch_size and attempt = forgiven and {CLAIMABLE}
        and coalesce(pack_limit, :members) >= :members and not {RETURNS}
    order by priority desc, created_at, id limit :limit for update skip locked
""")


def with_mates(
    database: Database, head: Lease, lease_s: float, memory_bytes: int | None = None
) -> Lease:
    """
    Return *head* with the leases of the mates that its worker claims now, if its study uses packs.

    Args:
        memory_bytes: the memory that a job process may use, of the host or of its GPU.
    """
    if obstacle([head.spec], head.device) is not None:
        return head
    with database.begin() as connection:
        asked = connection.execute(_ASKED, {"job": head.job, "device": head.device}).first()
        if asked is not None:
            most = _most(connection, head, asked, memory_bytes)
            members = min(most, asked.pack_limit or MOST)
            head = _with_mates(connection, head, asked, members, lease_s)
        name_pack(connection, head)
        return head


def _most(connection: Connection, head: Lease, asked: Any, memory_bytes: int | None) -> int:
    size = _size(asked)
    if has_model_of_gains(head.device):
        return members_of(head.spec, size, memory_bytes)
    if size == "auto" and asked.fell_apart:
        return 1  # it gained too little or was lost, and so would the next one
    gains = measured_gains(connection, head.spec, head.device)
    return members_by_measure(head.spec, size, memory_bytes, gains)


def _with_mates(
    connection: Connection, head: Lease, asked: Any, members: int, lease_s: float
) -> Lease:
    if members < 2:
        return head
    company = company_of(connection, head, _room(head))
    if company is None or len(company.jobs) >= members:
        fitting = _fitting(connection, head, asked, members)
        return replace(head, mates=_taken(connection, head, asked, fitting, lease_s))
    mates = _taken(connection, head, asked, company.jobs, lease_s)
    return replace(company.resuming(head), mates=tuple(map(company.resuming, mates)))


def _size(asked: Any) -> PackSize:
    if asked.pack == "auto":  # a study that compares times needs the times of jobs that run alone
        return "off" if is_timing(asked.metric or "") else "auto"
    return int(asked.pack) if asked.pack.isdecimal() else "off"


def _taken(
    connection: Connection, head: Lease, asked: Any, jobs: Sequence[UUID], lease_s: float
) -> tuple[Lease, ...]:
    taken = []
    for job in jobs:
        if refusal(connection, head.owner, asked.project, 1) is not None:
            break  # the others keep their places in the queue
        taken.append(leases.take(connection, job, head.device, head.worker, lease_s))
    return tuple(mate for mate in taken if mate is not None)


def _room(head: Lease) -> dict[str, Any]:
    return {
        "device": head.device,
        "most_replicas": 1,
        "most_hosts": 1,
        "unloadable": [],  # packs have no plugins and only our own networks: see `obstacle`
        "full": [],
    }


def _fitting(connection: Connection, head: Lease, asked: Any, members: int) -> list[UUID]:
    spec = head.spec
    values = {
        **_room(head),
        "study": asked.study,
        "owner": head.owner,
        "normalizer": spec.normalizer.kind,
        "model": spec.model.name,
        "dataset": spec.dataset.name,
        "batch_size": spec.batch_size,
        "members": members,
        "limit": _CANDIDATES * members,
    }
    by_itself = asked.pack == "auto"
    group = group_of(spec, by_itself=by_itself, kind=head.device)
    rows = connection.execute(_MATES, values).all()
    same = [r for r in rows if r.step == asked.step]
    specs = {r.id: _read(r.spec) for r in same}
    layers = {
        job: layer_of(mate)
        for job, mate in specs.items()
        if mate is not None and group_of(mate, by_itself=by_itself, kind=head.device) == group
    }
    own, modelled = layer_of(spec), has_model_of_gains(head.device)
    if by_itself and not modelled:  # the gain was measured with this number
        layers = {job: layer for job, layer in layers.items() if layer == own}
    kinds = list(dict.fromkeys((own, *layers.values())))
    found = sorted(layers, key=lambda job: kinds.index(layers[job]))
    if by_itself:
        # slots that other jobs keep busy do not wait for these
        free = max(1, asked.slots - asked.busy - max(0, asked.queued - len(found)))
        joining = [own, *(layers[job] for job in found)]
        even = evenly(members, len(joining), free)
        members = members_now(spec, members, joining, free) if modelled else even
    return found[: members - 1]


def _read(stored: Any) -> JobSpec | None:
    try:
        return JobSpec.from_store(stored)
    except ValueError:  # its own claim will report why it cannot be read
        return None
