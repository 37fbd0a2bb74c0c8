"""The group of replicas: averages, decisions and collections over torch.distributed."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Union

import torch
import torch.distributed as dist
from torch import Tensor, nn

from accelerators.dead_connections import notice_dead_connections
from accelerators.meeting import LOOPBACK, Meeting, interface_of, use_interface
from accelerators.shared_mean import NetworkMean, SharedMean, is_supported
from normlab.host.limits import usable_cores
from normlab.specs.devices import DEVICES
from normlab.training.accelerator import StepResult

# The others wait while the first one evaluates and saves. A dead peer closes its connection.
_PATIENCE = timedelta(days=7)
# Messages of the libraries when a peer has ended; they raise RuntimeError or a subclass.
_GONE = ("gloo", "connection closed by peer", "connection reset by peer", "nccl", "broken pipe")
# In torch 2.0, a store raises RuntimeError with one of the messages above.
_NETWORK = tuple(
    getattr(dist, name) for name in ("DistNetworkError", "DistStoreError") if hasattr(dist, name)
)


class ReplicaGroup:
    """
    The processes of one training; `joined` makes it.

    Args:
        device: a kind whose replicas are processes; replica i of a host uses its GPU i.
        control: a process group whose messages never wait for a GPU.
        averager: averages over CPUs; None if torch.distributed's own sum is used.
        hosts: the number of hosts; all have equally many replicas, numbered consecutively.

    Attributes:
        sharded: whether each replica holds a part of the model; `divided` decides.
        sharding: the same in words, with the reason.
    """

    def __init__(
        self,
        device: str,
        control: Any,
        averager: Union[SharedMean, NetworkMean, None] = None,
        hosts: int = 1,
    ) -> None:
        self.rank = dist.get_rank()
        self.count = dist.get_world_size()
        self.hosts = hosts
        self.sharded = False
        self.sharding: Optional[str] = None
        self.local_count = self.count // hosts
        self.local_rank = self.rank % self.local_count
        self.backend = DEVICES[device].collectives
        self._control = control
        self._averager = averager
        self._decision = 0  # the newest request at replica 0; others have none
        self._agreed = 0  # the decision of the previous update
        self._note = torch.zeros(1, dtype=torch.int64)
        self._sending: Any = None

    def average(self, parameters: Sequence[nn.Parameter], result: StepResult) -> StepResult:
        """Average the gradients over the replicas, and send the result and the decision along."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        found = torch.stack([result.loss.float(), result.correct.float()])
        decision = found.new_full((1,), float(self._decision))
        flat = torch.cat([*(g.reshape(-1) for g in gradients), found, decision])
        flat = self._mean(flat)
        parts = torch.split(flat, [*(g.numel() for g in gradients), 1, 1, 1])
        for gradient, part in zip(gradients, parts):
            gradient.copy_(part.view_as(gradient))
        loss, correct, decided = (part.view(()) for part in parts[-3:])
        if self.backend == "gloo":
            self._agreed = round(float(decided) * self.count)
        predictions = result.predictions * self.count
        return StepResult(loss, (correct * self.count).round(), predictions)

    def agree(self, decide: Callable[[], int]) -> int:
        """
        Return replica 0's decision of the previous call; it is sent during the update in between.

        On CPUs the decision is sent with the gradients of that update. No replica should wait for a
        GPU to read it, so for GPUs it is a separate message.
        """
        agreed = self._agreed if self.backend == "gloo" else self._received()
        self._agreed = 0
        self._decision = 0 if agreed or self.rank else decide()
        if self.backend != "gloo":
            self._note = torch.tensor([self._decision])
            self._sending = dist.broadcast(self._note, 0, group=self._control, async_op=True)
        return agreed

    def gather(self, state: Dict[str, Any]) -> List[Dict[str, Any]]:
        """Return the *state* of every replica at replica 0, and an empty list at the others."""
        states: Optional[List[Any]] = [None] * self.count if self.rank == 0 else None
        dist.gather_object(state, states, dst=0, group=self._control)
        return states or []

    def share(self, value: Any) -> Any:
        """Return the *value* of replica 0 in all replicas."""
        values = [value]
        dist.broadcast_object_list(values, 0, group=self._control)
        return values[0]

    def total(self, value: int) -> int:
        """Return the sum of *value* over the replicas."""
        sums = torch.tensor([value])
        dist.all_reduce(sums, group=self._control)
        return int(sums)

    def largest(self, value: int) -> int:
        """Return the largest *value* of any replica."""
        found = torch.tensor([value])
        dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self._control)
        return int(found)

    def smallest(self, value: int) -> int:
        """Return the smallest *value* of any replica."""
        return -self.largest(-value)

    def share_of(self, threads: Optional[int]) -> int:
        """Return how many of the *threads* per host (None: one per core) this replica may use."""
        return max(1, (threads or usable_cores()) // self.local_count)

    def leave(self) -> None:
        """
        Wait for pending messages, and leave the group.

        A group joins its threads when it is destroyed, and a thread may still need Python's lock
        to release the tensor of the last message. PyTorch 2.0 holds that lock while it destroys a
        group, and would wait forever. It does not hold the lock while it destroys a backend, so
        each backend is destroyed after its group.
        """
        self._received()
        if self._averager is not None:
            self._averager.close()
        everybody: Any = dist.group.WORLD
        device = "cuda" if self.backend == "nccl" else "cpu"
        groups = [(everybody, device), (self._control, "cpu")]
        backends = [group._get_backend(torch.device(kind)) for group, kind in groups]
        del everybody, groups, self._control
        dist.destroy_process_group()
        backends.clear()

    def _mean(self, flat: Tensor) -> Tensor:
        if self._averager is not None:
            return self._averager.mean(flat)
        dist.all_reduce(flat)
        return flat / self.count

    def _received(self) -> int:
        if self._sending is None:
            return 0
        self._sending.wait()
        self._sending = None
        return int(self._note)


@contextmanager
def joined(
    device: str, rank: int, count: int, folder: Path, meeting: Optional[Meeting] = None
) -> Iterator[ReplicaGroup]:
    """
    Join the other replicas, which name the same new *folder*, and leave the group at the end.

    Without a *meeting*, they communicate over the loopback interface, so other hosts cannot reach
    them. With one, they communicate over the interface that has its address, and the replicas of
    one host share *folder*.
    """
    use_interface(LOOPBACK if meeting is None else interface_of(meeting.address))
    hosts = 1 if meeting is None else meeting.hosts
    if device == "cuda":
        torch.cuda.set_device(rank % (count // hosts))
    dist.init_process_group(
        DEVICES[device].collectives,
        rank=rank,
        world_size=count,
        timeout=_PATIENCE,
        **_found(folder, meeting),
    )
    control = dist.new_group(backend="gloo", timeout=_PATIENCE)
    if hosts > 1:
        notice_dead_connections()
    averager = _averager(rank, count, folder, control, hosts) if device == "cpu" else None
    group = ReplicaGroup(device, control, averager, hosts)
    yield group
    # Only after success: without its peers, a replica would wait here forever.
    group.leave()


def _found(folder: Path, meeting: Optional[Meeting]) -> Dict[str, Any]:
    if meeting is None:
        return {"init_method": f"file://{folder}/peers"}
    return {"store": meeting.store()}


def _averager(
    rank: int, count: int, folder: Path, control: Any, hosts: int
) -> Union[SharedMean, NetworkMean, None]:
    if hosts > 1:
        return NetworkMean(count)
    return SharedMean(rank, count, folder, control) if is_supported() else None


def own_state(model: nn.Module) -> Dict[str, Any]:
    """Return the state of *model* that replicas do not share: all except its parameters."""
    shared = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return {name: value for name, value in model.state_dict().items() if name not in shared}


def is_lost_peer(error: BaseException) -> bool:
    """Return whether *error* only means that another replica has ended."""
    if isinstance(error, _NETWORK):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _GONE)
