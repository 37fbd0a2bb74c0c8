"""Cumulative ablation: the accuracy of a model when more and more channels are clamped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Literal, Mapping, Sequence, Tuple

import torch
from torch import Tensor, nn

from normlab.diagnostics.untouched import evaluating, hooked
from normlab.errors import InvalidSpec

Clamp = Literal["zero", "mean"]


@dataclass(frozen=True)
class AblationCurve:
    """Accuracy at each share of clamped channels, one row per random order."""

    fractions: List[float]
    accuracies: List[List[float]]

    @property
    def mean(self) -> List[float]:
        """Return the mean accuracy over the orders, at each fraction."""
        return [sum(column) / len(column) for column in zip(*self.accuracies)]

    @property
    def area(self) -> float:
        """Return the area under the mean curve, relative to a model that stays intact."""
        points = list(zip(self.fractions, self.mean))
        area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in zip(points, points[1:]))
        return area / (self.mean[0] * (self.fractions[-1] - self.fractions[0]))


def ablate(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    x: Tensor,
    y: Tensor,
    clamp: Clamp = "zero",
    fractions: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    orders: int = 3,
    seed: int = 0,
) -> AblationCurve:
    """
    Clamp more and more randomly chosen channels, and measure accuracy each time.

    Whole feature maps after the activation are set to a constant: zero, or the channel's mean
    over *x*. A random order contains the channels of all *layers*.

    Args:
        model: a classifier, which is unchanged afterwards.
        layers: names and modules whose outputs, (N, C, ...), are clamped; usually activations.
        x: inputs.
        y: labels.
        clamp: which constant to use.
        fractions: shares of channels to clamp, rising from 0.
        orders: the number of random orders.
        seed: seed of the orders.

    Raises:
        InvalidSpec: there is no layer or no order, or fractions do not rise from 0 to below 1.

    Source:
        Morcos et al., "On the importance of single directions for generalization", ICLR 2018,
        arXiv:1803.06959, the section on cumulative ablations.
    """
    rises = list(fractions) == sorted(set(fractions)) and len(fractions) > 1
    if not layers or orders < 1 or not rises or fractions[0] != 0 or fractions[-1] >= 1:
        raise InvalidSpec(
            f"{len(layers)} layers, {orders} orders, fractions {list(fractions)}: needs a layer, "
            "an order, and fractions that rise from 0 to below 1"
        )
    with evaluating(model):
        means = _channel_means(model, layers, x)
        constants = {n: m if clamp == "mean" else torch.zeros_like(m) for n, m in means.items()}
        channels = [(n, c) for n, m in means.items() for c in range(len(m))]
        generator = torch.Generator().manual_seed(seed)
        rows = []
        for _ in range(orders):
            order = [channels[i] for i in torch.randperm(len(channels), generator=generator)]
            cuts = [order[: round(f * len(channels))] for f in fractions]
            rows.append([_accuracy(model, layers, x, y, cut, constants) for cut in cuts])
    return AblationCurve(list(fractions), rows)


def _channel_means(
    model: nn.Module, layers: Mapping[str, nn.Module], x: Tensor
) -> Dict[str, Tensor]:
    means: Dict[str, Tensor] = {}

    def keep(name: str, _args: Tuple[Tensor, ...], out: Tensor) -> None:
        means[name] = out.transpose(0, 1).flatten(1).mean(1)  # (N, C, ...) -> (C,)

    with hooked(layers, keep):
        model(x)
    return means


def _accuracy(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    x: Tensor,
    y: Tensor,
    cut: Sequence[Tuple[str, int]],
    constants: Mapping[str, Tensor],
) -> float:
    masks = {
        n: torch.zeros(len(c), dtype=torch.bool, device=x.device) for n, c in constants.items()
    }
    for name, channel in cut:
        masks[name][channel] = True

    def clamp(name: str, _args: Tuple[Tensor, ...], out: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (out.dim() - 2)
        return torch.where(masks[name].view(shape), constants[name].view(shape), out)

    with hooked(layers, clamp):
        return float((model(x).argmax(1) == y).double().mean())
