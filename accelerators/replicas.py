"""The processes of a job's replicas, started and watched by torchrun's elastic launcher."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Callable, Dict

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

__all__ = ["SignalException", "launch"]

_LOOK_S = 0.05  # between two looks at the processes


def launch(replicas: int, work: Callable[[int], None], folder: Path) -> Dict[int, int]:
    """
    Run *work* with the numbers from 0 in so many forks of this process, and wait for them.

    The first that fails ends the others: they are asked by SIGTERM, and killed 30 s later. There
    are no restarts here, for a job's next attempt is the service's business. This process must
    not have computed with torch: its threads would be missing in the forks.

    Args:
        folder: a new one; what the launcher has to remember lies there.

    Returns:
        The exit status of the replica that failed first, by its number; empty if none did.

    Raises:
        SignalException: of torch's launcher, after it has passed on a signal to the replicas.
    """
    # The launcher looks for GPUs; this way it starts no CUDA, which no fork could use then.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # nobody outside need find us
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
