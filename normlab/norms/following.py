"""What follows a norm and can be computed together with its map: an activation, and its proxy."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.norms import engine_triton

Activation = Callable[[Tensor], Tensor]

ACTIVATIONS: Dict[str, Activation] = {"relu": F.relu, "silu": F.silu, "gelu": F.gelu}

_CALLS = ("__call__", "forward", "normalize_with")  # what a call of a norm goes through

_hooks: Any = torch.nn.modules.module  # for global hooks, which have no annotations
_HOOKS = ("forward_pre", "forward", "backward_pre", "backward")


class Following(NamedTuple):
    """
    An activation, then max(y, floor) or scale * y + shift; or a limit of abs(y) alone.

    Args:
        activation: "relu", "silu", "gelu" or None.
        floor: (C,), without a scale.
        scale: (C,), like the shift.
        limit: (1,), without an activation; the gradient is 0 where abs(y) is at or above it.
    """

    activation: Optional[str] = None
    floor: Optional[Tensor] = None
    scale: Optional[Tensor] = None
    shift: Optional[Tensor] = None
    limit: Optional[Tensor] = None

    def tensors(self) -> Tuple[Tensor, ...]:
        """Return the numbers of each channel."""
        return tuple(t for t in (self.floor, self.scale, self.shift) if t is not None)

    def with_tensors(self, *found: Tensor) -> Following:
        """Return the same with other numbers, in the order of `tensors`."""
        if self.floor is not None:
            return self._replace(floor=found[0])
        return self if self.scale is None else self._replace(scale=found[0], shift=found[1])

    def apply(self, y: Tensor) -> Tensor:
        """Compute what follows *y*, (N, C, positions...), in plain operators."""
        if self.activation is not None:
            y = ACTIVATIONS[self.activation](y)
        if self.floor is not None:
            floor = _by_channel(self.floor, y)
            y = torch.where(y <= floor, floor, y)
        if self.scale is not None and self.shift is not None:
            y = y * _by_channel(self.scale, y) + _by_channel(self.shift, y)
        if self.limit is not None:
            y = torch.where(y.abs() >= self.limit, self.limit.copysign(y), y)
        return y


def can_follow(norm: Any, x: Tensor) -> bool:
    """
    Return whether the map of *norm* on *x* can include what follows.

    It may not be changed: hooks would see the output of what follows, and methods that another
    library put into it would not be called.
    """
    if engine_triton.kernels_for(x) is None or norm.plain or x.numel() == 0:
        return False
    if x.dim() == 2 and not norm.follows_on_vectors:
        return False
    return _on_engine(norm.__class__, norm.training) and not is_changed(norm)


@lru_cache(maxsize=None)
def _on_engine(kind: Any, training: bool) -> bool:
    # said by the class that implements `normalize`: a subclass may compute more
    author = _author(kind, "normalize")
    said = author.__dict__.get("on_engine" if training else "evaluates_on_engine", False)
    base = _author(kind, "followed")
    return bool(said) and all(issubclass(base, _author(kind, name)) for name in _CALLS)


def _author(kind: Any, method: str) -> Any:
    return next(c for c in kind.__mro__ if method in c.__dict__)


def is_changed(norm: nn.Module) -> bool:
    """Return whether *norm* has a hook, or a method of its own that its class does not have."""
    if any(name in norm.__dict__ for name in (*_CALLS, "normalize")):
        return True
    forward = (norm._forward_hooks, norm._forward_pre_hooks)
    backward = (norm._backward_hooks, norm._backward_pre_hooks)
    of_all = (getattr(_hooks, f"_global_{name}_hooks") for name in _HOOKS)  # by torch 2.0 too
    return any(map(len, (*forward, *backward, *of_all)))


def _by_channel(t: Tensor, y: Tensor) -> Tensor:
    return t.view(-1, *[1] * (y.dim() - 2))
