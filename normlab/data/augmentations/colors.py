"""
Changes of colors, with one number for each image of a batch, and random ones of all of them.

Images are (N, C, H, W), from 0 (black) to 1 (white); the numbers are (N,). The functions compute
what Pillow computes for bytes, without Pillow's rounding to whole bytes between the steps.
"""

from __future__ import annotations

from typing import Any, Dict

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as in Pillow's conversion to grey


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply by *factor*."""
    return (x * _each(factor)).clamp_(0, 1)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance from the image's mean grey by *factor*."""
    return _blend(x, grey(x).mean(dim=(1, 2, 3), keepdim=True), factor)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance from each pixel's grey by *factor*."""
    return _blend(x, grey(x), factor)


def sharpness(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance from a smoothed image by *factor*; edge pixels do not change."""
    if min(x.shape[2:]) < 3:
        return x
    kernel = torch.ones(3, 3, dtype=x.dtype, device=x.device)
    kernel[1, 1] = 5
    channels = x.shape[1]
    weight = (kernel / kernel.sum()).expand(channels, 1, 3, 3)
    smooth = x.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(x, weight, groups=channels)
    return _blend(x, smooth, factor)


def hue(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue; images without three channels have no hue and do not change."""
    if x.shape[1] != 3:
        return x
    value, low = x.amax(dim=1), x.amin(dim=1)
    chroma = value - low
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    red, green, blue = x.unbind(1)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    sixth = sixth + 6 * turns.view(-1, 1, 1)
    parts = []
    for offset in (5.0, 3.0, 1.0):  # f(n) = v - c max(0, min(k, 4 - k, 1)), k = (n + h) mod 6
        k = (offset + sixth) % 6
        parts.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(parts, dim=1)


def posterize(x: Tensor, bits: Tensor) -> Tensor:
    """Keep the *bits* highest of the eight bits of each value."""
    step = 2.0 ** (8 - _each(bits))
    return (x * 255 + 0.5).floor().div(step).floor() * step / 255


def solarize(x: Tensor, threshold: Tensor) -> Tensor:
    """Invert the values that are at least *threshold*."""
    return torch.where(x >= _each(threshold), 1 - x, x)


def solarize_add(x: Tensor, amount: Tensor) -> Tensor:
    """Add *amount* to the values below the middle."""
    return torch.where(x < 128 / 255, (x + _each(amount)).clamp(max=1), x)


def invert(x: Tensor, _: Tensor) -> Tensor:
    """Invert all values."""
    return 1 - x


def autocontrast(x: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel to all of [0, 1]; a channel with a single value does not change."""
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    span = high - low
    return torch.where(span > 0, (x - low) / torch.where(span > 0, span, 1.0), x)


def equalize(x: Tensor, _: Tensor) -> Tensor:
    """Make all of the 256 levels of each channel equally frequent."""
    n, c, h, w = x.shape
    level = (x * 255 + 0.5).long().clamp(0, 255).view(n * c, h * w)
    row = 256 * torch.arange(n * c, device=x.device)[:, None]
    counts = torch.bincount((level + row).flatten(), minlength=256 * n * c).view(n * c, 256)
    highest = level.amax(dim=1, keepdim=True)
    step = (h * w - counts.gather(1, highest)) // 255  # without the pixels of the highest level
    before = counts.cumsum(1) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(0, 255)
    new = (table.gather(1, level).to(x.dtype) / 255).view_as(x)
    return torch.where((step > 0).view(n, c, 1, 1), new, x)


def grey(x: Tensor) -> Tensor:
    """Return the brightness of each pixel, (N, 1, H, W)."""
    if x.shape[1] != 3:
        return x.mean(dim=1, keepdim=True)
    red, green, blue = (x[:, i : i + 1] * share for i, share in enumerate(_LUMA))
    return red.add_(green).add_(blue)


def _blend(x: Tensor, start: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(start, x, _each(factor)).clamp_(0, 1)


def _each(number: Tensor) -> Tensor:
    return number.view(-1, 1, 1, 1)


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
        changes: Dict[int, Any] = dict(enumerate((brightness, contrast, saturation, hue)))
        for i, change in changes.items():
            if self._amounts[i]:
                x = change(x, drawn[:, i])
        return x
