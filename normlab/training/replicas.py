"""The interface of a training to its replicas; each computes a part of every update."""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor
from typing_extensions import Protocol

from normlab.specs.jobs import JobSpec

SAVE, STOP = 1, 2  # reasons for a training to pause; 0 is none


class Replicas(Protocol):
    """
    This process among the processes of one training, which all run the same loop.

    *rank* counts from 0; replica 0 reports, evaluates and writes checkpoints. If the model is
    *sharded*, each replica has a part of it, so all must evaluate together with replica 0.
    """

    rank: int
    count: int
    sharded: bool

    def agree(self, decide: Callable[[], int]) -> int:
        """Return the decision of replica 0 in all replicas, at the same call; 0 means none."""


class Alone:
    """The only process of a training without replicas."""

    rank = 0
    count = 1
    sharded = False

    def agree(self, decide: Callable[[], int]) -> int:
        """Return the decision of this process."""
        return decide()


def rows_of(replica: int, spec: JobSpec) -> Tensor:
    """
    Return the samples of an update that *replica* takes, in the order of its micro-batches.

    An update's samples are ordered as (accumulation, replica, micro-batch), as on an IPU, so that
    equal jobs get equal micro-batches on every device.
    """
    rows = torch.arange(spec.samples_per_update)
    by_replica = rows.view(spec.gradient_accumulation, spec.replicas, spec.batch_size)
    return by_replica[:, replica].flatten()
