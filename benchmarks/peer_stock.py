"""The peer: a network of torch's layers with a fused optimizer of torch, as in a script."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KINDS = ("batch",)  # our kinds for which this network uses a layer of torch
_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adamw": torch.optim.AdamW,
}
_OPTIONS: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9}, "adamw": {"weight_decay": 0.0}}


class Branches(nn.Module):
    """A pre-activation block with two convolutions: (N, C, H, W) -> (N, wide, H, W)."""

    def __init__(self, channels: int, wide: int, stride: int) -> None:
        super().__init__()
        self.before_first = nn.BatchNorm2d(channels)
        self.first = nn.Conv2d(channels, wide, 3, stride, padding=1, bias=False)
        self.before_second = nn.BatchNorm2d(wide)
        self.second = nn.Conv2d(wide, wide, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if wide != channels:
            self.shortcut = nn.Conv2d(channels, wide, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add both branches."""
        seen = F.relu(self.before_first(x))
        other = x if self.shortcut is None else self.shortcut(seen)
        found: Tensor = self.second(F.relu(self.before_second(self.first(seen))))
        return found + other


class StockNet(nn.Module):
    """
    The network `preresnet8` with batch norm, in torch's layers: (N, C, H, W) -> (N, classes).

    Args:
        weights: of our network, in its order; they are copied.
    """

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        (width, channels), classes = weights[0].shape[:2], len(weights[-1])
        self.stem = nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False)
        self.blocks = nn.Sequential(
            Branches(width, width, 1),
            Branches(width, 2 * width, 2),
            Branches(2 * width, 4 * width, 2),
        )
        self.last = nn.BatchNorm2d(4 * width)
        self.classify = nn.Linear(4 * width, classes)
        with torch.no_grad():
            for mine, given in zip(self.parameters(), weights, strict=True):
                mine.copy_(given)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        found = F.relu(self.last(self.blocks(self.stem(x))))
        logits: Tensor = self.classify(found.mean((2, 3)))
        return logits


def stock(
    net: nn.Module, x: Tensor, y: Tensor, optimizer: str, rate: float
) -> Callable[[], Tensor]:
    """Return a function that updates a copy of *net* in torch's layers and returns the loss."""
    copied = StockNet([p.detach() for p in net.parameters()])
    updates = _OPTIMIZERS[optimizer](copied.parameters(), rate, fused=True, **_OPTIONS[optimizer])

    def step() -> Tensor:
        updates.zero_grad(set_to_none=True)
        loss = F.cross_entropy(copied(x), y)
        loss.backward()
        updates.step()
        return loss.detach()

    return step
