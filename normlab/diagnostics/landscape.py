"""Smoothness of the loss along the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Sequence, Tuple

import torch
from torch import Tensor, nn

from normlab.diagnostics.moment import Loss
from normlab.diagnostics.untouched import replica
from normlab.errors import InvalidSpec


@dataclass(frozen=True)
class Landscape:
    """The measurements along the gradient, one entry per step length."""

    lengths: List[float]
    losses: List[float]
    gradient_changes: List[float]

    @property
    def loss_range(self) -> Tuple[float, float]:
        """Return the smallest and the largest loss."""
        return min(self.losses), max(self.losses)

    @property
    def gradient_predictiveness(self) -> Tuple[float, float]:
        """Return the smallest and the largest change of the gradient, as L2 norms."""
        return min(self.gradient_changes), max(self.gradient_changes)

    def beta_smoothness(self, gradient_norm: float) -> float:
        """Return the largest ratio of the gradient's change to the distance moved."""
        moved = (length * gradient_norm for length in self.lengths)
        return max(change / max(d, 1e-300) for change, d in zip(self.gradient_changes, moved))


@dataclass(frozen=True)
class Smoothness:
    """A landscape, and the gradient at its origin."""

    landscape: Landscape
    loss: float
    gradient_norm: float
    beta: float


def measure_landscape(
    model: nn.Module, loss: Loss, x: Tensor, y: Tensor, lengths: Sequence[float]
) -> Smoothness:
    """
    Move from theta to theta - eta d for each eta of *lengths*; d is the gradient at theta.

    At each point, measure the loss and the change of the gradient,
    || grad(theta) - grad(theta - eta d) ||; beta is the maximum over eta of this change divided by
    || eta d ||. All points use the same batch, normalizers are in training mode, and the model is
    unchanged afterwards.

    Args:
        model: any torch model.
        loss: function of output and target.
        x: inputs of one batch.
        y: targets of one batch.
        lengths: step lengths eta, in units of the gradient; usually 1/2 to 4 times the
            learning rate.

    Raises:
        InvalidSpec: there is no length, or one is not positive.

    Source:
        Santurkar et al., "How Does Batch Normalization Help Optimization?", NeurIPS 2018,
        arXiv:1805.11604, figure 4. We start each point from the same running statistics.
    """
    if not lengths or min(lengths) <= 0:
        raise InvalidSpec(f"step lengths {list(lengths)}: at least one, all positive")
    with replica(model) as twin:
        twin.train()
        walk = _Walk(twin, loss, x, y)
        points = [walk.at(length) for length in lengths]
    found = Landscape(list(lengths), [p[0] for p in points], [p[1] for p in points])
    norm = _norm(walk.direction)
    return Smoothness(found, walk.loss_at_origin, norm, found.beta_smoothness(norm))


class _Walk:
    """A line along the gradient at the origin; each point starts from the origin's state."""

    def __init__(self, model: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> None:
        self._model, self._loss, self._x, self._y = model, loss, x, y
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._origin = {name: t.detach().clone() for name, t in model.state_dict().items()}
        self._start = [p.detach().clone() for p in self._parameters]
        self.loss_at_origin, self.direction = self._gradient()

    def at(self, length: float) -> Tuple[float, float]:
        """Return the loss at *length*, and the distance of its gradient from that at the origin."""
        self._model.load_state_dict(self._origin)
        with torch.no_grad():
            for parameter, start, d in zip(self._parameters, self._start, self.direction):
                parameter.copy_(start - length * d)
        value, gradient = self._gradient()
        return value, _norm([a - b for a, b in zip(self.direction, gradient)])

    def _gradient(self) -> Tuple[float, List[Tensor]]:
        with torch.enable_grad():
            value = self._loss(self._model(self._x), self._y)
            gradient = torch.autograd.grad(value, self._parameters, allow_unused=True)
        filled = zip(self._parameters, gradient)
        return float(value.detach()), [torch.zeros_like(p) if g is None else g for p, g in filled]


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.stack([t.double().square().sum() for t in tensors]).sum().sqrt())
