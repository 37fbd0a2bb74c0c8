"""Recomputed forwards: activation checkpoints run forwards again during the backward pass.

The second one must start from the state that the first one started from, and move nothing. Nobody
tells a layer that it is recomputed, but it can be seen: the forward runs inside a backward pass.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import Any, Deque, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from normlab.errors import Conflict

_SAMPLE = 64  # values of an input that recognize it

# missing in PyTorch 2.0
_saving_hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)


class _Forward:
    """One training forward: what its input looked like, and the state that it started from."""

    def __init__(self, x: Tensor, state: Dict[str, Tensor]) -> None:
        self.input = _Input.of(x)
        self.state = state
        self.recomputed = False

    def started_as(self, other: _Forward) -> bool:
        """Return whether both started from the same state."""
        return all(torch.equal(self.state[name], other.state[name]) for name in self.state)


class _Input(NamedTuple):
    shape: Tuple[int, ...]
    values: Tensor

    @classmethod
    def of(cls, x: Tensor) -> _Input:
        flat = x.detach().reshape(-1)
        return cls(tuple(x.shape), flat[:: max(1, flat.numel() // _SAMPLE)].clone())

    def equals(self, other: _Input, tolerance: float) -> bool:
        if self.shape != other.shape or self.values.dtype != other.values.dtype:
            return False
        scale = tolerance * float(self.values.nan_to_num(0.0, 0.0, 0.0).abs().max())
        return torch.allclose(self.values, other.values, tolerance, scale, equal_nan=True)


class Recalled:
    """
    The last training forwards of one layer that a checkpoint may recompute.

    Noted are those without a graph (reentrant checkpoints) and those whose saved tensors go
    through hooks (the others); nothing else is ever recomputed. Copies and pickles start with none.

    Args:
        most: forwards that are kept.
        read: whether a forward's output depends on the state, so that two forwards of the same
            input must be told apart.
    """

    def __init__(self, most: int, read: bool) -> None:
        self._most, self._read = most, read
        self._forwards: Deque[_Forward] = deque(maxlen=most)

    def note(self, layer: nn.Module, names: Sequence[str], x: Tensor) -> None:
        """Note that *layer* is about to compute *x* from its buffers *names*."""
        if self._forwards and any(f.recomputed for f in self._forwards):
            waiting = [f for f in self._forwards if not f.recomputed]
            self._forwards = deque(waiting, maxlen=self._most)
        if _may_be_recomputed():
            state = {name: _buffer(layer, name).clone() for name in names}
            self._forwards.append(_Forward(x, state))

    @contextmanager
    def replay(self, layer: nn.Module, x: Tensor) -> Iterator[None]:
        """
        Let *layer* have copies of the state that its forward of *x* started from.

        Raises:
            Conflict: if that forward cannot be told.
        """
        first = self._find(layer, x)
        first.recomputed = True
        now = {name: _buffer(layer, name) for name in first.state}
        try:
            for name, value in first.state.items():
                setattr(layer, name, value.clone())
            yield
        finally:
            for name, value in now.items():
                setattr(layer, name, value)

    def _find(self, layer: nn.Module, x: Tensor) -> _Forward:
        seen = _Input.of(x)
        for tolerance in (0.0, 1e-2):  # kernels that add in any order repeat nothing exactly
            found = [f for f in self._forwards if f.input.equals(seen, tolerance)]
            found = [f for f in found if not f.recomputed] or found
            if found:
                self._check_alike(layer, found)
                return found[-1]
        kept = "the last training forward"
        kept = kept if self._most == 1 else f"one of the last {self._most} training forwards"
        raise Conflict(
            f"a forward of {type(layer).__name__} inside backward (an activation checkpoint) does "
            f"not recompute {kept}: the input is another one (random numbers that were not "
            "preserved), or the layer was used too often in between; let the checkpoint preserve "
            "them, call backward sooner, or leave the layer out of the checkpoint"
        )

    def _check_alike(self, layer: nn.Module, found: List[_Forward]) -> None:
        if self._read and not all(found[0].started_as(other) for other in found[1:]):
            raise Conflict(
                f"{len(found)} training forwards of {type(layer).__name__} had the input that an "
                "activation checkpoint recomputes, each from another state: which one is meant "
                "cannot be told; call backward after each forward, or leave the layer out of the "
                "checkpoint"
            )

    def __deepcopy__(self, memo: Any) -> Recalled:
        return Recalled(self._most, self._read)

    def __reduce__(self) -> Tuple[Any, ...]:
        return Recalled, (self._most, self._read)


def in_backward() -> bool:
    """Return whether a backward pass is running: activation checkpoints recompute there."""
    return int(torch._C._current_graph_task_id()) != -1


def _may_be_recomputed() -> bool:
    if not torch.is_grad_enabled() or _saving_hooks is None:
        return True
    hooks: Optional[Any] = _saving_hooks(False)  # tracing included
    return hooks is not None


def _buffer(layer: nn.Module, name: str) -> Tensor:
    found: Tensor = getattr(layer, name)
    return found
