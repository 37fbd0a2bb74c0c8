"""The result of a call: outputs of micro-batches, selected and joined by the output mode."""

from __future__ import annotations

from typing import Any, List, Sequence

import torch
from torch import Tensor

from accelerators.poptorch_emulation.enums import OutputMode
from accelerators.poptorch_emulation.errors import Error
from accelerators.poptorch_emulation.options import Options

_DEVICE_TYPES = {torch.int64: torch.int32, torch.float64: torch.float32}


class Outputs:
    """Collects one output per micro-batch, in the order device iteration, accumulation, replica."""

    def __init__(self, options: Options, training: bool) -> None:
        mode = options.output_mode
        if mode is OutputMode.Default:
            mode = OutputMode.Final if training else OutputMode.All
        period = options.output_return_period
        if mode is OutputMode.EveryN and options.device_iterations % period:
            raise Error(f"EveryN: {period} does not divide {options.device_iterations} iterations")
        self._mode = mode
        self._period = period
        self._replicas = options.replication_factor
        self._per_iteration = options.Training.gradient_accumulation * self._replicas
        self._total = options.device_iterations * self._per_iteration
        self._kept: List[Any] = []
        self._sums: List[Any] = [None] * self._replicas
        self._seen = 0

    def add(self, output: Any) -> None:
        """Take the next micro-batch's output."""
        index, self._seen = self._seen, self._seen + 1
        if self._mode is OutputMode.Sum:
            replica = index % self._replicas
            before = self._sums[replica]
            self._sums[replica] = output if before is None else _combine(torch.add, before, output)
        elif self._is_kept(index):
            self._kept.append(output)

    def result(self) -> Any:
        """Join the kept outputs along the batch dimension, in the types that a device returns."""
        kept = self._sums if self._mode is OutputMode.Sum else self._kept
        return _join(kept)

    def _is_kept(self, index: int) -> bool:
        if self._mode is OutputMode.Final:
            return index >= self._total - self._replicas
        if self._mode is OutputMode.EveryN:
            return (index // self._per_iteration + 1) % self._period == 0
        return True


def _combine(function: Any, a: Any, b: Any) -> Any:
    if isinstance(a, Tensor):
        return function(a, b)
    return type(a)(_combine(function, x, y) for x, y in zip(a, b))


def _join(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return _as_returned(_join_tensors(parts))
    return type(first)(_join([part[i] for part in parts]) for i in range(len(first)))


def _join_tensors(parts: Sequence[Tensor]) -> Tensor:
    if len(parts) == 1:
        return parts[0]  # a 0-dim loss stays 0-dim
    return torch.stack(list(parts)) if parts[0].dim() == 0 else torch.cat(list(parts))


def _as_returned(x: Tensor) -> Tensor:
    x = x.detach().to(_DEVICE_TYPES.get(x.dtype, x.dtype))
    x.backward = _no_backward  # type: ignore[method-assign]
    return x


def _no_backward(*args: Any, **kwargs: Any) -> None:
    raise Error(
        "backward() cannot be called explicitly on outputs of a PopTorch model. If you're using a "
        "trainingModel, the backwards pass is performed automatically when invoking the model."
    )
