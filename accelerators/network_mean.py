"""The mean of a vector over processes on several hosts, through their network."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from accelerators.shared_mean import mean_in_order


class NetworkMean:
    """
    Averages vectors over gloo: each process averages a part of them, and sends it to the others.

    A process sends about two vectors, however many processes there are, as in gloo's own
    all-reduce. But all parts are summed in the order of the ranks, as in `SharedMean`. So the
    same processes get the same bits on one host and on several.

    Args:
        count: the number of processes in the default group of torch.distributed.
    """

    def __init__(self, count: int) -> None:
        self._count = count

    def mean(self, vector: Tensor) -> Tensor:
        """
        Return the mean of every process's *vector*, of the same length everywhere.

        Raises:
            RuntimeError: a process has ended.
        """
        n = vector.numel()
        whole = functional.pad(vector, (0, -n % self._count))
        mine = torch.empty_like(whole)
        dist.all_to_all_single(mine, whole)
        part = mean_in_order(mine.view(self._count, -1))
        parts = [torch.empty_like(part) for _ in range(self._count)]
        dist.all_gather(parts, part)
        return torch.cat(parts)[:n]

    def close(self) -> None:
        """Do nothing, because the group of torch.distributed holds the connections."""
