"""The time of a normalizer relative to torch's batch norm, measured in one run."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn

from normlab.laws.properties import Layer

SHAPE = (8, 64, 16, 16)
ROUNDS = 15


def cost(layer: Layer) -> float:
    """Return the ratio of forward and backward times to `torch.nn.BatchNorm2d`, timed in turns."""
    torch.manual_seed(0)
    x = torch.randn(SHAPE)
    ours, theirs = layer(), nn.BatchNorm2d(SHAPE[1])
    ratios = [_seconds(ours, x) / _seconds(theirs, x) for _ in range(ROUNDS)]
    return statistics.median(ratios[2:])  # the first ones allocate


def _seconds(layer: nn.Module, x: Tensor) -> float:
    x = x.detach().requires_grad_()
    began = time.perf_counter()
    torch.autograd.backward(layer(x).sum())
    return time.perf_counter() - began
