"""Small models that the conformance tests compile."""

from __future__ import annotations

from typing import Any, Tuple

import torch
from torch import Tensor, nn


class Regression(nn.Module):
    """A linear map and its mean squared error."""

    def __init__(self, net: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = net if net is not None else nn.Linear(3, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tuple[Tensor, Tensor]:
        out = self.net(x)
        return out, nn.functional.mse_loss(out, y)


class Running(nn.Module):
    """Adds its input to a buffer, and returns the buffer."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("total", torch.zeros(1))

    def forward(self, x: Tensor, y: Tensor) -> Tuple[Tensor, Tensor]:
        self.total.add_(x.sum())
        return self.total.clone(), nn.functional.mse_loss(self.net(x), y)


def data(n: int, seed: int = 0) -> Tuple[Tensor, Tensor]:
    """Return inputs (N, 3) and targets (N, 2)."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=g), torch.randn(n, 2, generator=g)


def plain_sgd(
    model: Regression, x: Tensor, y: Tensor, parts: int, lr: float, steps: int, **sgd: Any
) -> None:
    """Train *model* with plain torch: gradients of *parts* micro-batches are averaged."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, **sgd)
    for _ in range(steps):
        optimizer.zero_grad()
        for xi, yi in zip(x.chunk(parts), y.chunk(parts)):
            (model(xi, yi)[1] / parts).backward()
        optimizer.step()
