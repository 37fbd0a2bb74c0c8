"""Random changes of brightness, contrast, saturation and hue."""

from __future__ import annotations

from typing import Any, Dict

import torch
from torch import Generator, Tensor

from normlab.data.augmentations import colors


class ColorJitter:
    """
    Change an image's colors by uniform factors in [1 - a, 1 + a], and its hue by turns in [-h, h].

    The order is always the same; torchvision and kornia draw a random order.
    """

    def __init__(self, brightness: float, contrast: float, saturation: float, hue: float) -> None:
        self._amounts = (brightness, contrast, saturation, hue)

    def draw(self, n: int, generator: Generator) -> Tensor:
        """Return the factors of *n* images, (n, 4)."""
        u = 2 * torch.rand(n, 4, generator=generator) - 1
        return torch.tensor([1.0, 1.0, 1.0, 0.0]) + u * torch.tensor(self._amounts)

    def __call__(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Change *x* (N, C, H, W) in [0, 1]."""
        changes: Dict[int, Any] = dict(
            enumerate((colors.brightness, colors.contrast, colors.saturation, colors.hue))
        )
        for i, change in changes.items():
            if self._amounts[i]:
                x = change(x, drawn[:, i])
        return x
