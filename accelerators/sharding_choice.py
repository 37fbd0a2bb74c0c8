"""Choose whether each replica of a training holds the whole model or a part of it."""

from __future__ import annotations

import resource
from typing import NamedTuple, Optional

import torch

from accelerators.replica_group import ReplicaGroup
from normlab.errors import DeviceUnavailable, InvalidSpec, refuse
from normlab.specs import sharding
from normlab.specs.devices import DEVICES
from normlab.specs.jobs import JobSpec


class ShardingChoice(NamedTuple):
    """Whether a model is divided among its replicas; *told* is the reason."""

    full: bool
    told: str


def choose(
    spec: JobSpec,
    group: ReplicaGroup,
    device: str,
    memory_bytes: Optional[int],
    before: Optional[bool],
) -> ShardingChoice:
    """
    Choose for all replicas of *group*, which call this at the same time.

    Args:
        device: the kind of device.
        memory_bytes: the memory of this replica's device; None if it is not known.
        before: the choice of the attempt that this one resumes; None if there is none.

    Raises:
        InvalidSpec: the job asks for sharding, but cannot be sharded.
        DeviceUnavailable: this version of torch cannot shard it.
    """
    room = group.smallest(_room(device, memory_bytes, group.local_count))
    chosen: ShardingChoice = group.share(_choice(spec, room, before) if group.rank == 0 else None)
    return chosen


def _choice(spec: JobSpec, room: int, before: Optional[bool]) -> ShardingChoice:
    if spec.sharding == "off":
        return ShardingChoice(False, "off, as asked")
    against = _against(spec)
    if spec.sharding == "full":
        if against is not None:
            raise against
        return ShardingChoice(True, "full, as asked")
    if before is not None:
        word = "full" if before else "off"
        return ShardingChoice(
            bool(before), f"{word}, as in the attempt that it resumes, for equal bits"
        )
    if against is not None:
        return ShardingChoice(False, f"off: {against}")
    return _by_memory(spec, room)


def _against(spec: JobSpec) -> Optional[Exception]:
    """Return why the job cannot be sharded here; None if it can."""
    if not sharding.has_engine(torch.__version__):
        return DeviceUnavailable(
            f"sharding 'full' needs torch {'.'.join(map(str, sharding.LEAST_TORCH))} or newer "
            f"where the job runs, and there is {torch.__version__}; set it to 'off'"
        )
    try:
        refuse(list(sharding.obstacles(spec)))
    except InvalidSpec as e:
        return e
    return None


def _by_memory(spec: JobSpec, room: int) -> ShardingChoice:
    from accelerators.inspection.memory import estimate  # imports torch's compilers

    try:
        needed = estimate(spec)
    except (RuntimeError, InvalidSpec) as e:  # the network computes with values
        return ShardingChoice(False, f"off: the memory of a replica cannot be estimated ({e})")
    sizes = f"a replica needs about {_gib(needed)}, and has {_gib(room)}"
    return (
        ShardingChoice(True, f"full: {sizes}")
        if needed > room
        else ShardingChoice(False, f"off: {sizes}")
    )


def _room(device: str, memory_bytes: Optional[int], here: int) -> int:
    """Return the memory of one replica, if *here* replicas share a host."""
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    rooms = [] if limit == resource.RLIM_INFINITY else [limit]
    if memory_bytes is not None:
        rooms.append(memory_bytes // here if DEVICES[device].shares_host_memory else memory_bytes)
    return min(rooms, default=2**62)


def _gib(count: int) -> str:
    return f"{count / 2**30:,.2f} GiB"
