"""The resources that a job uses while it trains: processor, memory, GPU. Runs on Python 3.8."""

from __future__ import annotations

import importlib
import math
import os
import sys
import time
from typing import Any, Callable, Dict, List

import psutil

from normlab.events import Event, Metrics, Progress, Series

EVERY_S = 5.0
"""The seconds between two samples; one costs some milliseconds, to list the host's processes."""


class ProcessUsage:
    """
    Measures this process with all processes that it starts.

    Args:
        every_s: a sample younger than this is returned again, so that members of a pack share it.
    """

    def __init__(
        self, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.every_s = every_s
        self.clock = clock
        self._root = os.getpid()  # replicas are forked later, and one of them measures all
        self._sample: Dict[str, float] = {}
        self._at = clock()
        self._spent_s = _processor_s(self._tree())
        self._due = -math.inf

    def now(self) -> Dict[str, float]:
        """
        Return the resources in use: metrics with their values.

        `device/cpu_percent` is in percent of one core, the average since the previous sample.
        `device/memory_bytes` is resident memory; pages that processes share count in each of them.
        `device/gpu_memory_bytes` is the memory that torch holds on this process's GPU, and
        `device/gpu_percent` is how busy the GPU is. Both are missing without a GPU, and the latter
        also without NVIDIA's library (`nvidia-ml-py`).
        """
        at = self.clock()
        if at >= self._due:
            tree = self._tree()
            spent_s = _processor_s(tree)
            share = max(0.0, spent_s - self._spent_s) / max(at - self._at, 1e-3)
            resident = sum(_of(p, lambda p: p.memory_info().rss) for p in tree)
            self._sample = {"device/cpu_percent": 100 * share, "device/memory_bytes": resident}
            torch = sys.modules.get("torch")
            self._sample.update(gpu_usage(getattr(torch, "cuda", None)))
            self._at, self._spent_s, self._due = at, spent_s, at + self.every_s
        return self._sample

    def _tree(self) -> List[psutil.Process]:
        try:
            root = psutil.Process(self._root)
            return [root, *root.children(recursive=True)]
        except psutil.Error:  # a replica has outlived this process
            return [psutil.Process()]


class Meter:
    """
    Passes the events of a training on, and adds a sample of its resources to progress.

    There is one point at the first progress, and further ones at least `usage.every_s` apart.
    """

    def __init__(self, send: Callable[[Event], None], usage: ProcessUsage) -> None:
        self._send = send
        self._usage = usage
        self._due = -math.inf
        self._step = 0

    def send(self, event: Event) -> None:
        """Pass *event* on, preceded by a sample if one is due."""
        if isinstance(event, Progress) and event.step > self._step:
            now = self._usage.clock()
            if now >= self._due:
                self._due = now + self._usage.every_s
                self._step = event.step
                self._send(_points(event.step, self._usage.now()))
        self._send(event)


def _points(step: int, values: Dict[str, float]) -> Metrics:
    at = time.time()
    return Metrics(
        series={n: Series(steps=[step], values=[v], times=[at]) for n, v in values.items()}
    )


def _processor_s(tree: List[psutil.Process]) -> float:
    # with ended children that were waited for: their time must stay in the sum
    return sum(_of(p, lambda p: math.fsum(p.cpu_times()[:4])) for p in tree)


def _of(process: psutil.Process, value: Callable[[psutil.Process], float]) -> float:
    try:
        return float(value(process))
    except psutil.Error:  # it has ended since it was listed
        return 0.0


def gpu_usage(cuda: Any) -> Dict[str, float]:
    """Return the metrics of the GPU that *cuda*, which is `torch.cuda`, computes on, if any."""
    if cuda is None or not cuda.is_initialized():
        return {}
    found = {"device/gpu_memory_bytes": float(cuda.memory_reserved())}
    try:
        refused = importlib.import_module("pynvml").NVMLError
    except ImportError:
        return found
    try:
        return {**found, "device/gpu_percent": float(cuda.utilization())}
    except (refused, RuntimeError):  # a part of a GPU, or a driver that does not report it
        return found
