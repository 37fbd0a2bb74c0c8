"""Measure on copies how much faster a pack is than its members alone, before it begins."""

from __future__ import annotations

import copy
import time
from typing import Any, Callable, Sequence

import torch
from torch import Tensor, nn

from normlab.specs.jobs import JobSpec

_WARM_UP = 5  # updates; the last one is a replay if updates are recorded
_UPDATES = 10


def measured_gain(
    device: Any, nets: Sequence[nn.Module], specs: Sequence[JobSpec], x: Tensor, y: Tensor
) -> float:
    """
    Return the time of one update of each member alone, divided by the time of the pack's update.

    Args:
        device: the device, opened for packs.
        nets: the members' networks, whose weights do not change.
        specs: the members' specs.
        x: a micro-batch.
        y: its classes.
    """
    short = [spec.model_copy(update={"gradient_accumulation": 1}) for spec in specs]
    members = len(short)
    with torch.random.fork_rng(devices=[]):
        alone_s = _alone_s(device, copy.deepcopy(nets[0]), short[0], x, y)
        xs, ys = (part.expand(members, *part.shape) for part in (x, y))
        pack_s = _pack_s(device, copy.deepcopy(list(nets)), short, xs, ys)
    return members * alone_s / pack_s


def _alone_s(device: Any, net: nn.Module, spec: JobSpec, x: Tensor, y: Tensor) -> float:
    session = device.alone(net, spec)

    def update() -> None:
        session.prepare(0.0, 0.0)
        session.train(x, y)

    return _seconds(device.wait, update)


def _pack_s(
    device: Any, nets: Sequence[nn.Module], specs: Sequence[JobSpec], xs: Tensor, ys: Tensor
) -> float:
    session = device.session(nets, specs)

    def update() -> None:
        session.prepare([0.0 for _ in specs], 0.0)
        session.train(xs, ys)

    try:
        return _seconds(device.wait, update)
    finally:
        session.close()


def _seconds(wait: Callable[[], None], update: Callable[[], None]) -> float:
    for _ in range(_WARM_UP):
        update()
    wait()
    began = time.perf_counter()
    for _ in range(_UPDATES):
        update()
    wait()
    return time.perf_counter() - began
