"""The optimizers for all members at once: one row per member, one column per weight.

S members have P weights each: gradients, weights and states are (S, P), and numbers of members are
(S, 1).
The equations are those of torch's optimizers.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple, Type

import torch
from torch import Tensor

from normlab.specs.optimizers import SGD, AdamW, OptimizerSpec, RMSprop
from normlab.training.optimizers import Rate


class UpdateInputs(NamedTuple):
    """
    The inputs of an update.

    Args:
        gradient: (S, P), which may be changed.
        weights: (S, P), before the update; None if nothing decays.
        decay: (S, P) or (S, 1).
        rate: (S, P) or (S, 1).
    """

    gradient: Tensor
    weights: Optional[Tensor]
    decay: Tensor
    rate: Tensor


class UpdateRule:
    """
    An optimizer of S members.

    Args:
        optimizers: the optimizers of the members, of one kind.
        rates: learning rate and momentum of each member, scaled to its samples per update.
        like: a tensor whose shape is (S, P).
    """

    states: Tuple[str, ...] = ()  # torch's names
    counts = True  # torch stores the number of updates with them

    def __init__(
        self, optimizers: Sequence[OptimizerSpec], rates: Sequence[Rate], like: Tensor
    ) -> None:
        self.optimizers = optimizers
        self.momentum = _column([rate.momentum or 0.0 for rate in rates], like)
        self.state: Dict[str, Tensor] = {name: torch.zeros_like(like) for name in self.states}

    def count(self, number: int) -> None:
        """Store the values that depend on the *number* of the update, from 1, for `change`."""

    def change(self, now: UpdateInputs) -> Tensor:
        """Return the change to subtract from the weights, (S, P), with operators on tensors."""
        raise NotImplementedError

    def numbers(self, name: str) -> Tensor:
        """Return an option of the members, (S, 1)."""
        return self.column([getattr(optimizer, name) for optimizer in self.optimizers])

    def rest(self, name: str, power: int = 1) -> Tensor:
        """Return 1 - option^power of each, (S, 1), rounded once: the option may be near 1."""
        return self.column([1 - getattr(o, name) ** power for o in self.optimizers])

    def column(self, values: Sequence[float]) -> Tensor:
        """Return a number of each member as (S, 1)."""
        return _column(values, next(iter(self.state.values())))


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).unsqueeze(1)


def _decayed(now: UpdateInputs) -> Tensor:
    return now.gradient if now.weights is None else now.gradient.addcmul_(now.decay, now.weights)


class _Sgd(UpdateRule):
    states = ("momentum_buffer",)
    counts = False

    def __init__(self, optimizers: Sequence[Any], rates: Sequence[Rate], like: Tensor) -> None:
        super().__init__(optimizers, rates, like)
        self.nesterov = bool(optimizers[0].nesterov)

    def change(self, now: UpdateInputs) -> Tensor:
        g = _decayed(now)
        buffer = self.state["momentum_buffer"].mul_(self.momentum).add_(g)
        ahead = g.addcmul_(buffer, self.momentum) if self.nesterov else buffer
        return ahead * now.rate


class _AdamW(UpdateRule):
    states = ("exp_avg", "exp_avg_sq")

    def __init__(self, optimizers: Sequence[Any], rates: Sequence[Rate], like: Tensor) -> None:
        super().__init__(optimizers, rates, like)
        self.beta1, self.beta2 = self.numbers("beta1"), self.numbers("beta2")
        self.new1, self.new2 = self.rest("beta1"), self.rest("beta2")
        self.eps = self.numbers("eps")
        self.bias1, self.bias2 = torch.ones_like(self.eps), torch.ones_like(self.eps)

    def count(self, number: int) -> None:
        """Correct the averages for their start at 0."""
        self.bias1.copy_(self.rest("beta1", number))
        self.bias2.copy_(self.rest("beta2", number))

    def change(self, now: UpdateInputs) -> Tensor:
        g, (first, second) = now.gradient, self.state.values()
        first.mul_(self.beta1).addcmul_(g, self.new1)
        second.mul_(self.beta2).addcmul_(g * g, self.new2)
        found = (first / self.bias1).div_((second / self.bias2).sqrt_().add_(self.eps))
        if now.weights is not None:
            found.addcmul_(now.decay, now.weights)
        return found.mul_(now.rate)


class _RMSprop(UpdateRule):
    states = ("square_avg", "momentum_buffer")

    def __init__(self, optimizers: Sequence[Any], rates: Sequence[Rate], like: Tensor) -> None:
        super().__init__(optimizers, rates, like)
        self.alpha, self.eps = self.numbers("alpha"), self.numbers("eps")
        self.new = self.rest("alpha")

    def change(self, now: UpdateInputs) -> Tensor:
        g, (squares, buffer) = _decayed(now), self.state.values()
        squares.mul_(self.alpha).addcmul_(g * g, self.new)
        buffer.mul_(self.momentum).addcdiv_(g, squares.sqrt().add_(self.eps))
        return buffer * now.rate


RULES: Dict[Type[Any], Type[UpdateRule]] = {SGD: _Sgd, AdamW: _AdamW, RMSprop: _RMSprop}
