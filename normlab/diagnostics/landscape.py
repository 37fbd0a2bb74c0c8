"""Smoothness of the loss along the gradient: how far a step can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, List, Sequence, Tuple

import torch
from torch import Tensor, nn

from normlab.diagnostics.untouched import untouched
from normlab.errors import InvalidSpec

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Landscape:
    """What was met along the gradient, one entry a step length."""

    lengths: List[float]
    losses: List[float]
    gradient_changes: List[float]

    @property
    def loss_range(self) -> Tuple[float, float]:
        """Smallest and largest loss."""
        return min(self.losses), max(self.losses)

    @property
    def gradient_predictiveness(self) -> Tuple[float, float]:
        """Smallest and largest change of the gradient, as an L2 norm."""
        return min(self.gradient_changes), max(self.gradient_changes)

    def beta_smoothness(self, gradient_norm: float) -> float:
        """Largest change of the gradient for the distance moved."""
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
    Walk from theta to theta - eta d, d the gradient at theta, for each eta of *lengths*.

    At each point: the loss; the change of the gradient || grad(theta) - grad(theta - eta d) ||;
    and beta = max over eta of that change / || eta d ||. The same batch is used throughout,
    normalizers work as in training, and nothing of the model is changed afterwards.

    Args:
        model: any torch model.
        loss: function of output and target.
        x: inputs of one batch.
        y: targets of one batch.
        lengths: step lengths eta, in units of the gradient; around 1/2 to 4 times the
            learning rate.

    Raises:
        InvalidSpec: no length, or one that is not positive.

    Source:
        Santurkar et al., "How Does Batch Normalization Help Optimization?", NeurIPS 2018,
        arXiv:1805.11604, figure 4. Ours normalizes each point by its own batch statistics and
        restores running ones.
    """
    if not lengths or min(lengths) <= 0:
        raise InvalidSpec(f"step lengths {list(lengths)}: at least one, all positive")
    with untouched(model):
        model.train()
        parameters = [p for p in model.parameters() if p.requires_grad]
        origin = [p.detach().clone() for p in parameters]
        start, direction = _gradient(model, loss, x, y, parameters)
        points = [_at(model, loss, x, y, parameters, origin, direction, e) for e in lengths]
    found = Landscape(list(lengths), [p[0] for p in points], [p[1] for p in points])
    norm = _norm(direction)
    return Smoothness(found, start, norm, found.beta_smoothness(norm))


def _at(
    model: nn.Module,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    parameters: List[nn.Parameter],
    origin: List[Tensor],
    direction: List[Tensor],
    length: float,
) -> Tuple[float, float]:
    with torch.no_grad():
        for parameter, o, d in zip(parameters, origin, direction):
            parameter.copy_(o - length * d)
    value, gradient = _gradient(model, loss, x, y, parameters)
    return value, _norm([a - b for a, b in zip(direction, gradient)])


def _gradient(
    model: nn.Module, loss: Loss, x: Tensor, y: Tensor, parameters: List[nn.Parameter]
) -> Tuple[float, List[Tensor]]:
    with torch.enable_grad():
        value = loss(model(x), y)
        gradient = torch.autograd.grad(value, parameters, allow_unused=True)
    filled = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradient)]
    return float(value.detach()), filled


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.stack([t.double().square().sum() for t in tensors]).sum().sqrt())
