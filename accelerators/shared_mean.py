"""The mean of a vector over processes: of one host, in shared memory, or through the network."""

from __future__ import annotations

import mmap
import os
import select
import time
from pathlib import Path
from typing import Any, List

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from normlab.host.limits import usable_cores

_SPIN_S = 0.01  # waking a sleeping process takes longer than a small update


class SharedMean:
    """
    Averages vectors over processes with a core each: write, send a byte to the others, and sum.

    Every process writes to its two buffers in turn. Before it rewrites one, it has synchronized
    with the others again, so they have read it, and one synchronization per mean is enough. All
    sum in the same order, so all get the same bits.

    Args:
        rank: the number of this process among *count*.
        folder: a common folder, for the pipes through which they synchronize.
        control: a torch.distributed group with all processes.
    """

    def __init__(self, rank: int, count: int, folder: Path, control: Any) -> None:
        self._rank, self._count, self._control = rank, count, control
        self._spin_s = _SPIN_S if usable_cores() >= count else 0.0
        self._places = torch.empty(2, count, 0)
        self._turn = 0
        peers = [peer for peer in range(count) if peer != rank]
        self._heard = [_open_to_read(folder / f"mean-{peer}-{rank}") for peer in peers]
        dist.barrier(control)  # all pipes exist before one is opened
        self._told = [os.open(folder / f"mean-{rank}-{peer}", os.O_WRONLY) for peer in peers]
        dist.barrier(control)  # from now on, end of file means that a peer has ended

    def mean(self, vector: Tensor) -> Tensor:
        """
        Return the mean of every process's *vector*, float32 and of the same length everywhere.

        Raises:
            RuntimeError: a process has ended.
        """
        n = vector.numel()
        if n > self._places.shape[2]:
            memory = _shared(2 * self._count * n, self._rank, self._control)
            self._places = memory.view(2, self._count, n)
        self._turn = 1 - self._turn
        places = self._places[self._turn, :, :n]
        places[self._rank].copy_(vector)
        self._meet()
        return mean_in_order(places)

    def close(self) -> None:
        """Leave the group."""
        for pipe in (*self._heard, *self._told):
            os.close(pipe)
        self._heard, self._told = [], []

    def _meet(self) -> None:
        try:
            for pipe in self._told:
                os.write(pipe, b"!")
        except BrokenPipeError as e:
            raise _gone() from e
        for pipe in self._heard:
            self._hear(pipe)

    def _hear(self, pipe: int) -> None:
        until = time.perf_counter() + self._spin_s
        while True:
            try:
                if not os.read(pipe, 1):
                    raise _gone()
                return
            except BlockingIOError:
                if time.perf_counter() > until:
                    _wait(pipe)


def mean_in_order(rows: Tensor) -> Tensor:
    """
    Return the mean of *rows*, summed from the first to the last.

    The order of torch's own mean depends on the number and the length of the rows. Here, an element
    has the same bits wherever its row was cut.
    """
    total = rows[0].clone()
    for row in rows[1:]:
        total += row
    return total.div_(len(rows))


def is_supported() -> bool:
    """Return whether this system supports the shared memory."""
    return hasattr(os, "memfd_create") and os.path.exists("/proc/self/fd")


def _shared(values: int, rank: int, control: Any) -> Tensor:
    """Return memory for *count* float32, which the first process creates and the others open."""
    told: List[Any] = [None]
    size = values * 4
    if rank == 0:
        fd = os.memfd_create("normlab-mean")
        os.ftruncate(fd, size)
        told = [f"/proc/{os.getpid()}/fd/{fd}"]
    dist.broadcast_object_list(told, 0, group=control)
    if rank:
        fd = os.open(told[0], os.O_RDWR)
    memory = mmap.mmap(fd, size)
    dist.barrier(control)  # the descriptor of the first process is needed until all have opened it
    os.close(fd)
    return torch.frombuffer(memory, dtype=torch.float32)


def _open_to_read(pipe: Path) -> int:
    os.mkfifo(pipe, 0o600)
    return os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)


def _wait(pipe: int) -> None:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    poll.poll()


def _gone() -> RuntimeError:
    return RuntimeError("connection closed by peer: another replica has ended")


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
