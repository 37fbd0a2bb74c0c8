"""Start and watch this host's replicas of a job with torchrun's elastic launcher."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, Optional

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous.api import RendezvousError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from accelerators.meeting import JOIN, Meeting

__all__ = ["HostsParted", "SignalException", "launch"]

_LOOK_S = 0.05  # between two checks of the processes


class HostsParted(Exception):
    """Not all hosts of a training have met, or the first of them is gone."""


def launch(
    replicas: int, work: Callable[[int], None], folder: Path, meeting: Optional[Meeting] = None
) -> Dict[int, int]:
    """
    Run *work* in forks of this process, with the numbers from 0, and wait for them.

    The first failure ends the other forks: they get a SIGTERM, and are killed 30 s later. There
    are no restarts here, because the service starts the next attempt. This process must
    not have computed with torch, because its threads would be missing in the forks.

    Args:
        replicas: the number of replicas on this host.
        folder: a new folder for the launcher's state.
        meeting: the meeting with the other hosts, which start their replicas at the same time; None
            if there are no others.

    Returns:
        The exit status of the replica that failed first, by its number; empty if none failed.

    Raises:
        SignalException: raised by torch's launcher after it has passed a signal on to the replicas.
        HostsParted: another host did not come in time, or is gone.
    """
    # The launcher looks for GPUs. This stops it from starting CUDA, which forks could not use.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # replicas use `Meeting.store`
    config = LaunchConfig(
        **(_alone(folder) if meeting is None else _among(meeting)),
        nproc_per_node=replicas,
        rdzv_backend="c10d",
        max_restarts=0,
        monitor_interval=_LOOK_S,
        start_method="fork",
    )

    def replica() -> None:
        # not RANK, because the launcher numbers hosts by name, and the job's leader must be first
        work(int(os.environ["LOCAL_RANK"]))

    try:
        elastic_launch(config, replica)()
    except ChildFailedError as e:
        return {failure.local_rank: failure.exitcode for failure in e.failures.values()}
    except RendezvousError as e:
        raise HostsParted(str(e)) from e
    return {}


def _alone(folder: Path) -> Dict[str, Any]:
    return {
        "min_nodes": 1,
        "max_nodes": 1,
        "run_id": uuid.uuid4().hex,
        "rdzv_endpoint": str(folder / "launcher"),
        "rdzv_configs": {"store_type": "file"},
        "local_addr": "127.0.0.1",
    }


def _among(meeting: Meeting) -> Dict[str, Any]:
    return {
        "min_nodes": meeting.hosts,
        "max_nodes": meeting.hosts,
        "run_id": meeting.run,
        "rdzv_endpoint": meeting.endpoint,
        "rdzv_configs": {
            "is_host": False,
            "join_timeout": int(JOIN.total_seconds()),
            "read_timeout": 20,
        },
        "local_addr": meeting.address,
    }
