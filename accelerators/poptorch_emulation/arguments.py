"""The arguments of a call: split into micro-batches, with the shapes of the first call."""

from __future__ import annotations

import warnings
from typing import Any, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from accelerators.poptorch_emulation.errors import Error

_ON_DEVICE = {torch.float64: torch.float32}
Signature = List[Tuple[Any, Any, Any]]


class Arguments:
    """The arguments of one program: the number of micro-batches per call, and fixed shapes."""

    def __init__(self, micro_batches: int) -> None:
        self._micro_batches = micro_batches
        self._signature: Optional[Signature] = None

    def split(self, args: Sequence[Any]) -> List[List[Any]]:
        """Return the arguments of every micro-batch, slowest dimension first."""
        prepared = [_prepared(a) for a in args]
        self._check(prepared)
        columns = [self._chunks(a) for a in prepared]
        return [list(row) for row in zip(*columns)]

    def _check(self, args: Sequence[Any]) -> None:
        for a in args:
            if isinstance(a, Tensor):
                self._check_batch(a)
        signature = [_described(a) for a in args]
        if self._signature is None:
            self._signature = signature
        if len(signature) != len(self._signature):
            raise Error(f"Expected {len(self._signature)} arguments but got {len(signature)}")
        for number, (now, then) in enumerate(zip(signature, self._signature)):
            _compare(number, now, then)

    def _check_batch(self, x: Tensor) -> None:
        if x.numel() == 0:
            raise Error(f"Zero-sized tensors are unsupported (Got shape {list(x.shape)}).")
        n = self._micro_batches
        assert x.dim() == 0 or x.shape[0] % n == 0, (
            f"Invalid batch dimension: In the input {list(x.shape)}, the batch dimension "
            f"({x.shape[0]}) must be a multiple of Options.deviceIterations * "
            f"Options.replicationFactor * Options.Training.gradientAccumulation = {n}"
        )

    def _chunks(self, a: Any) -> Sequence[Any]:
        if not isinstance(a, Tensor) or a.dim() == 0 or self._micro_batches == 1:
            return [a] * self._micro_batches
        return a.chunk(self._micro_batches)


def _prepared(a: Any) -> Any:
    if not isinstance(a, Tensor):
        return a
    if a.requires_grad:
        warnings.warn(
            "Input tensor has requires_grad=True set. This tensor will be detached because "
            "backward pass via inputs is not supported.",
            stacklevel=4,
        )
        a = a.detach()
    return a.to(_ON_DEVICE.get(a.dtype, a.dtype))


def _described(a: Any) -> Tuple[Any, Any, Any]:
    if isinstance(a, Tensor):
        return "tensor", tuple(a.shape), a.dtype
    return "constant", type(a), a


def _compare(number: int, now: Tuple[Any, Any, Any], then: Tuple[Any, Any, Any]) -> None:
    if now == then:
        return
    if now[0] == then[0] == "tensor" and now[1] != then[1]:
        raise Error(
            f"Shape mismatch for argument {number}: expected {list(then[1])} but got "
            f"{list(now[1])}; a compiled program takes the shapes of its first call"
        )
    if now[0] == then[0] == "tensor":
        raise Error(f"Type mismatch for argument {number}: expected {then[2]} but got {now[2]}")
    raise Error(f"Argument {number} was compiled in as {then[2]!r} and cannot become {now[2]!r}")
