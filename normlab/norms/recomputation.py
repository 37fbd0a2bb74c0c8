"""Recomputed forwards, which activation checkpoints run during the backward pass.

A second forward must start from the same state as the first one, and must not change the state. A
layer is not told that it is recomputed, but it can detect this: the forward runs inside a backward.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import Any, Deque, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn

from normlab.errors import Conflict

_SAMPLE = 64  # values by which an input is recognized

# missing in PyTorch 2.0
_saving_hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)


class FirstForward:
    """One training forward: a sample of its input, and the state that it started from."""

    def __init__(self, x: Tensor, state: Dict[str, Tensor]) -> None:
        self.input = _Input.of(x)
        self.state = state
        self.recomputed = False

    def reads_as(self, other: FirstForward, names: Iterable[str]) -> bool:
        """Return whether both started from the same state, in the buffers *names*."""
        return all(torch.equal(self.state[name], other.state[name]) for name in names)


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

    These are forwards without a graph (for reentrant checkpoints) and forwards whose saved tensors
    go through hooks (for the others); no other forward is ever recomputed. Copies and pickles of
    this object start empty.

    Args:
        most: the largest number of forwards that are kept.
        reads: the state on which a forward's output depends; it distinguishes two forwards of the
            same input.
    """

    def __init__(self, most: int, reads: Tuple[str, ...]) -> None:
        self._most, self._reads = most, reads
        self._forwards: Deque[FirstForward] = deque(maxlen=most)

    def note(self, layer: Any, x: Tensor) -> None:
        """Record that *layer* will compute *x* from the buffers that it changes and reads."""
        if self._forwards:
            self.forget_recomputed()
        if not torch.is_grad_enabled() or hooks_save():
            names = (*layer.moved, *layer.reads)
            self.add(x, {name: _buffer(layer, name).clone() for name in names})

    def add(self, x: Tensor, state: Dict[str, Tensor]) -> None:
        """Record a forward of *x* from *state*."""
        self._forwards.append(FirstForward(x, state))

    def forget_recomputed(self) -> None:
        """Keep only the forwards that still wait to be recomputed."""
        if any(f.recomputed for f in self._forwards):
            waiting = [f for f in self._forwards if not f.recomputed]
            self._forwards = deque(waiting, maxlen=self._most)

    @contextmanager
    def replay(self, layer: nn.Module, x: Tensor) -> Iterator[None]:
        """
        Give *layer* copies of the state that its forward of *x* started from.

        Raises:
            Conflict: that forward cannot be identified.
        """
        first = self.choose(type(layer).__name__, self.like(x))
        now = {name: _buffer(layer, name) for name in first.state}
        try:
            for name, value in first.state.items():
                setattr(layer, name, value.clone())
            yield
        finally:
            for name, value in now.items():
                setattr(layer, name, value)

    def like(self, x: Tensor) -> List[FirstForward]:
        """Return the forwards with the same input as *x*; only waiting ones, if there are some."""
        seen = _Input.of(x)
        for tolerance in (0.0, 1e-2):  # kernels with a random order of sums repeat nothing exactly
            found = [f for f in self._forwards if f.input.equals(seen, tolerance)]
            if found:
                return [f for f in found if not f.recomputed] or found
        return []

    def choose(self, layer: str, found: List[FirstForward]) -> FirstForward:
        """
        Return the forward of *found* that is recomputed now.

        Raises:
            Conflict: there is none, or it cannot be identified.
        """
        if not found:
            kept = "the last training forward"
            kept = kept if self._most == 1 else f"one of the last {self._most} training forwards"
            raise Conflict(
                f"a forward of {layer} inside backward (an activation checkpoint) does not "
                f"recompute {kept}: the input differs (random numbers were not "
                "preserved), or the layer was used too often in between; let the checkpoint "
                "preserve them, call backward sooner, or leave the layer out of the checkpoint"
            )
        if not all(found[0].reads_as(other, self._reads) for other in found[1:]):
            raise Conflict(
                f"{len(found)} training forwards of {layer} had the input that an activation "
                "checkpoint recomputes, each from another state, so the right one is not "
                "known; call backward after each forward, or leave the layer out of the checkpoint"
            )
        found[-1].recomputed = True
        return found[-1]

    def __deepcopy__(self, memo: Any) -> Recalled:
        return Recalled(self._most, self._reads)

    def __reduce__(self) -> Tuple[Any, ...]:
        return Recalled, (self._most, self._reads)


def in_backward() -> bool:
    """Return whether a backward pass is running, in which activation checkpoints recompute."""
    return int(torch._C._current_graph_task_id()) != -1


def hooks_save(traced: bool = False) -> bool:
    """
    Return whether tensors that are saved for backward go through hooks, as in a checkpoint.

    Args:
        traced: whether to include the hooks of a compiler that traces a checkpoint.
    """
    if _saving_hooks is None:
        return True
    hooks: Optional[Any] = _saving_hooks(traced)
    return hooks is not None


def _buffer(layer: nn.Module, name: str) -> Tensor:
    found: Tensor = getattr(layer, name)
    return found
