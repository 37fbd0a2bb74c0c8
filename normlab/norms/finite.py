"""Non-finite statistics: they do not change state, and layers with a counter count them.

The functions compute with tensors, because a branch would wait for the device, and break a compiled
graph. Only on a CPU in eager mode is reading a value free, and small operators are slow there.
"""

from __future__ import annotations

import math
from typing import Iterable, Union

import torch
from torch import Tensor, nn

from normlab.norms import capture

Truth = Union[bool, Tensor]  # either read already, or a tensor

_COUNT = "nonfinite_statistics"


def are_finite(*statistics: Tensor) -> Tensor:
    """Return whether all *statistics*, which have the same shape, are finite, as a () tensor."""
    every = statistics[0] if len(statistics) == 1 else torch.stack(statistics)
    return (every.abs() <= torch.finfo(every.dtype).max).all()  # not isfinite, which IPUs lack


def finiteness(first: Tensor, second: Tensor) -> Truth:
    """Return whether two statistics of the same shape are finite, as a bool if reading is free."""
    if not capture.is_readable(first) or type(second) is not Tensor:
        return are_finite(first, second)
    return read_finite(first, second)


def read_finite(first: Tensor, second: Tensor) -> bool:
    """Return whether two statistics of the same shape on a CPU are finite."""
    if first.dim() > 1:
        first, second = first.reshape(-1), second.reshape(-1)
    if math.isfinite(torch.dot(first, second).item()):
        return True
    return bool(are_finite(first, second))  # a sum of finite numbers may overflow


def read(truth: Tensor) -> Truth:
    """Return the value of *truth* if reading it is free, else *truth*."""
    return bool(truth) if capture.is_readable(truth) else truth


def keep(state: Tensor, new: Tensor, where: Truth) -> None:
    """Copy *new* to *state* in place, where *where* is true."""
    if where is True:
        state.copy_(new)
    elif where is not False:
        state.copy_(torch.where(where, new.to(state.dtype), state))


def count_if(truth: Truth, count: Tensor) -> None:
    """Add 1 to *count* in place if *truth*."""
    if isinstance(truth, Tensor):
        count.add_(truth.to(count.dtype))
    elif truth:
        count.add_(1)


def count_unless(finite: Truth, count: Tensor) -> None:
    """Add 1 to *count* in place unless *finite*."""
    if isinstance(finite, Tensor):
        count.add_(1 - finite.to(count.dtype))
    elif not finite:
        count.add_(1)


def layers_that_count(model: nn.Module) -> Iterable[nn.Module]:
    """Return the layers of *model* that count their non-finite statistics."""
    return (module for module in model.modules() if _COUNT in module._buffers)


def nonfinite_statistics(model: nn.Module) -> int:
    """Return how many non-finite statistics all layers of *model* had in this process."""
    counts = [getattr(layer, _COUNT) for layer in layers_that_count(model)]
    return int(torch.stack(counts).sum()) if counts else 0
