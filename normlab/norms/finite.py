"""Statistics that are not finite: they move no state, and are counted where the layer has a count.

It is arithmetic on tensors: a branch would wait for the device, and end a compiled graph. Only a
CPU that runs operator by operator has the answer at once, and small operators are dear there.
"""

from __future__ import annotations

import math
from typing import Iterable, Optional

import torch
from torch import Tensor, nn

from normlab.norms.recomputation import is_compiling

_COUNT = "nonfinite_statistics"
_transforms = getattr(torch._C._functorch, "peek_interpreter_stack", None)


def are_finite(*statistics: Tensor) -> Tensor:
    """Return whether all *statistics*, of the same shape, are finite: a truth value, ()."""
    every = statistics[0] if len(statistics) == 1 else torch.stack(statistics)
    return (every.abs() <= torch.finfo(every.dtype).max).all()  # IPUs have no isfinite


def known_finite(*statistics: Tensor) -> Optional[bool]:
    """Return whether all *statistics* are finite, or None where reading that would be wrong."""
    if is_compiling() or any(type(t) is not Tensor or t.device.type != "cpu" for t in statistics):
        return None
    if torch._C._get_tracing_state() or (_transforms is not None and _transforms() is not None):
        return None
    if math.isfinite(sum(t.sum().item() for t in statistics)):
        return True
    return bool(are_finite(*statistics))  # a sum of finite numbers may overflow


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
