"""The gains of packs on a device, as the processes that trained them measured them."""

from __future__ import annotations

from statistics import median
from typing import Any

from sqlalchemy import Connection, text

from normlab.specs.devices import DEVICES
from normlab.specs.jobs import JobSpec
from normlab.specs.pack_sizes import Gains
from service.jobs.estimates import shape_of

_NEWEST = 100  # packs that are read
# If several members report the gain of one pack, one of them is enough; the newest packs count.
_MEASURED = text("""
    select spec, members, gain from (
        select distinct on (a.pack) job.spec, (a.environment ->> 'packed')::int as members,
            (a.environment ->> 'pack_gain')::float8 as gain, a.started_at
        from job join attempt a on a.job = job.id
        where job.device = :device and job.model = :model and job.dataset = :dataset
            and job.normalizer = :normalizer and job.batch_size = :batch_size
            and job.spec #>> '{optimizer,name}' = :optimizer
            and a.pack is not null and a.environment ->> 'pack_gain' is not null
        order by a.pack, job.id
    ) packs order by started_at desc limit :newest
""")


def has_model_of_gains(device: str) -> bool:
    """Return whether the model of costs predicts the gain of a pack on *device*."""
    packs = DEVICES[device].packs
    return packs is not None and packs.costs


def measured_gains(connection: Connection, spec: JobSpec, device: str) -> Gains:
    """Return the median gain of packs of jobs such as *spec* on *device*, by their members."""
    values = {
        "device": device,
        "model": spec.model.name,
        "dataset": spec.dataset.name,
        "normalizer": spec.normalizer.kind,
        "batch_size": spec.batch_size,
        "optimizer": spec.optimizer.name,
        "newest": _NEWEST,
    }
    found: dict[int, list[float]] = {}
    for row in connection.execute(_MEASURED, values):
        if _stored_work(row.spec) == _work(spec):
            found.setdefault(row.members, []).append(row.gain)
    return {members: median(gains) for members, gains in found.items()}


def _work(spec: JobSpec) -> tuple[object, ...]:
    """Return what decides the work of an update of a pack; the members' numbers do not."""
    # members with equal settings share an optimizer only on a CPU, whose gains a model predicts
    optimizer = spec.optimizer
    limits = (optimizer.clip_norm, optimizer.clip_ratio, optimizer.clip_value)
    return (*shape_of(spec), optimizer.name, *(limit is not None for limit in limits))


def _stored_work(stored: Any) -> tuple[object, ...] | None:
    try:
        return _work(JobSpec.from_store(stored))
    except ValueError:  # its kind no longer exists; other jobs' claims must not fail
        return None
