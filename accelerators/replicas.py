"""Start and watch the processes of a job's replicas with torchrun's elastic launcher."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Callable, Dict

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

__all__ = ["SignalException", "launch"]

_LOOK_S = 0.05  # between two checks of the processes


def launch(replicas: int, work: Callable[[int], None], folder: Path) -> Dict[int, int]:
    """
    Run *work* with the numbers from 0 on in forks of this process, and wait for them.

    The first failure ends the other forks: they get a SIGTERM, and are killed 30 s later. There
    are no restarts here, because the service starts the next attempt. This process must
    not have computed with torch, because its threads would be missing in the forks.

    Args:
        folder: a new folder for the launcher's state.

    Returns:
        The exit status of the replica that failed first, by its number; empty if none failed.

    Raises:
        SignalException: raised by torch's launcher after it has passed a signal on to the replicas.
    """
    # The launcher looks for GPUs; in this way it does not start CUDA, which forks could not use.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # no other host needs to find us
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=replicas,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=str(folder / "launcher"),
        rdzv_configs={"store_type": "file"},
        max_restarts=0,
        monitor_interval=_LOOK_S,
        start_method="fork",
        local_addr="127.0.0.1",
    )

    def replica() -> None:
        work(int(os.environ["RANK"]))

    try:
        elastic_launch(config, replica)()
    except ChildFailedError as e:
        return {rank: failure.exitcode for rank, failure in e.failures.items()}
    return {}
