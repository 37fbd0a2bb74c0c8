"""One adapter a kind of device, opened by its name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Dict, Optional

from normlab.errors import DeviceUnavailable, UnsupportedModel, told
from normlab.specs.devices import DEVICES, problems
from normlab.specs.jobs import JobSpec

if TYPE_CHECKING:  # its module imports torch, which not everybody here has or wants
    from accelerators.replica_group import ReplicaGroup
    from normlab.training.accelerator import Accelerator


def open_accelerator(
    kind: str,
    spec: JobSpec,
    threads: Optional[int] = None,
    group: Optional[ReplicaGroup] = None,
) -> Accelerator:
    """
    Open the adapter of *kind* for one job.

    Args:
        kind: a name of the table of devices.
        spec: the job, for the options that its device takes.
        threads: this job's share of the host's cores, where the job does not ask for a number.
        group: the replicas of which this process is one; those of an IPU are all in one process.

    Raises:
        DeviceUnavailable: there is no such device here, with the reason.
        UnsupportedModel: the job asks for what such a device does not do.
    """
    if kind not in DEVICES:
        raise DeviceUnavailable(f"no kind of device {kind!r}; there are {', '.join(DEVICES)}")
    refused = problems(spec, kind)
    if refused:
        raise UnsupportedModel(f"{kind} cannot take this job: {told(refused)}")
    try:  # only now: each needs what only its own hosts have installed
        module = importlib.import_module(DEVICES[kind].adapter)
    except ImportError as e:
        raise DeviceUnavailable(f"device {kind!r} cannot be used here: {e}") from e
    place: Dict[str, Any] = {} if group is None else {"group": group}
    accelerator: Accelerator = module.open_device(spec, threads, **place)
    return accelerator
