"""Train one attempt according to its order. Runs on Python 3.8; imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Optional

from accelerators import open_accelerator
from accelerators.replica_group import ReplicaGroup
from accelerators.sharding_choice import choose
from normlab.events import Event, Finished
from normlab.training.checkpoints import CheckpointFolder, NamedCheckpoint
from normlab.training.loop import fit
from normlab.training.reporting import BufferedReporter, SilentReporter
from workers.job_order import JobOrder
from workers.job_pipes import StopRequest

Send = Callable[[Event], None]


def train(
    order: JobOrder, send: Send, stop: StopRequest, group: Optional[ReplicaGroup] = None
) -> Finished:
    """
    Train to the end, and return the last event.

    Args:
        send: receives each event except the last.
        group: the replicas to which this process belongs; only the first sends anything.

    Raises:
        JobError: the reason for an early end; `InvalidSpec` and unexpected errors also pass.
    """
    checkpoints = _Checkpoints(
        group,
        Path(order.folder) / "checkpoints",
        order.spec.fingerprint(),
        [NamedCheckpoint(c.step, Path(c.path), c.sha256, c.fingerprint) for c in order.resume],
        order.keep_checkpoints,
    )
    accelerator = open_accelerator(order.device, order.spec, order.threads, group)
    if group is not None:
        _divide(group, order, accelerator.probe().memory_bytes, checkpoints.sharded())
    data_root = Path(order.data_root)
    weights = None if order.weights is None else Path(order.weights)
    if group is not None and group.rank > 0:
        of_others = (SilentReporter(), checkpoints, data_root, stop, group, None, weights)
        summary = fit(order.spec, accelerator, *of_others)
    else:
        with BufferedReporter(send) as sender:
            given = (sender, checkpoints, data_root, stop, group, order.norms, weights)
            summary = fit(order.spec, accelerator, *given)
    return Finished(step=summary["steps"], summary=summary)


def _divide(
    group: ReplicaGroup, order: JobOrder, memory_bytes: Optional[int], before: Optional[bool]
) -> None:
    """Let each replica hold the whole model, or a part of it."""
    chosen = choose(order.spec, group, order.device, memory_bytes, before)
    group.sharded, group.sharding = chosen.full, chosen.told


class _Checkpoints(CheckpointFolder):
    """The checkpoints of an attempt, whose hosts may not all be able to read them."""

    def __init__(self, group: Optional[ReplicaGroup], *values: Any) -> None:
        super().__init__(*values)
        self._group = group
        self._state: Optional[Dict[str, Any]] = None

    def sharded(self) -> Optional[bool]:
        """Return whether the attempt that this one resumes was sharded; None: there is none."""
        self._state = self._read()
        return None if self._state is None else "sharded" in self._state["session"]

    def load(self) -> Optional[Dict[str, Any]]:
        """Return the state that `sharded` has read, once; or read it."""
        state, self._state = self._state or self._read(), None
        return state

    def _read(self) -> Optional[Dict[str, Any]]:
        """Read the state in each replica, or on the first of several hosts, which sends it."""
        group = self._group
        if group is None or group.hosts == 1:
            return super().load()
        state: Optional[Dict[str, Any]] = group.share(None if group.rank else super().load())
        return state
