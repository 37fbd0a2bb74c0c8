"""One adapter per kind of device, opened by name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Dict, Optional

from normlab.errors import DeviceUnavailable, UnsupportedModel, told
from normlab.specs.device_rules import problems
from normlab.specs.devices import DEVICES
from normlab.specs.jobs import JobSpec

if TYPE_CHECKING:  # this module imports torch, which some users of this package do not have or need
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
        kind: a name in the table of devices.
        spec: the job, with the options of its device.
        threads: this job's share of the host's cores, if the job does not set a number.
        group: the replicas that this process belongs to; IPU replicas are all in one process.

    Raises:
        DeviceUnavailable: there is no such device here; the message has the reason.
        UnsupportedModel: the device does not support the job.
    """
    if kind not in DEVICES:
        raise DeviceUnavailable(
            f"there is no kind of device {kind!r}; use one of {', '.join(DEVICES)}"
        )
    refused = problems(spec, kind)
    if refused:
        raise UnsupportedModel(f"{kind} cannot take this job: {told(refused)}")
    try:  # imported here, because each adapter needs packages that only its own hosts have
        module = importlib.import_module(DEVICES[kind].adapter)
    except ImportError as e:
        raise DeviceUnavailable(f"device {kind!r} cannot be used here: {e}") from e
    place: Dict[str, Any] = {} if group is None else {"group": group}
    accelerator: Accelerator = module.open_device(spec, threads, **place)
    return accelerator
