"""Statistics that are not finite: they move no state, and are counted where the layer has a count.

All of it is arithmetic on tensors: a branch would wait for the device, and end a compiled graph.
"""

from __future__ import annotations

from typing import Iterable

import torch
from torch import Tensor, nn

_COUNT = "nonfinite_statistics"


def are_finite(*statistics: Tensor) -> Tensor:
    """Return whether all *statistics*, of the same shape, are finite: a truth value, ()."""
    every = statistics[0] if len(statistics) == 1 else torch.stack(statistics)
    return (every.abs() <= torch.finfo(every.dtype).max).all()  # IPUs have no isfinite


def count_unless(finite: Tensor, count: Tensor) -> None:
    """Add 1 to *count*, in place, unless *finite*."""
    count.add_(1 - finite.to(count.dtype))


def layers_that_count(model: nn.Module) -> Iterable[nn.Module]:
    """Return the layers of *model* that count their statistics that are not finite."""
    return (module for module in model.modules() if _COUNT in module._buffers)


def nonfinite_statistics(model: nn.Module) -> int:
    """Return how many statistics of all layers of *model* were not finite in this process."""
    counts = [getattr(layer, _COUNT) for layer in layers_that_count(model)]
    return int(torch.stack(counts).sum()) if counts else 0
