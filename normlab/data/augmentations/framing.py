"""Changes of the part that an image shows: crops, mirror images and erased rectangles."""

from __future__ import annotations

from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

_TRIES = 10


class Crop:
    """Pad by *pad* zeros on each side, and cut out the image's size at a random place."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def draw(self, n: int, generator: Generator) -> Tensor:
        """Return the shifts of *n* images, (n, 2)."""
        return torch.randint(2 * self.pad + 1, (n, 2), generator=generator)

    def __call__(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Cut *x* (N, C, H, W) out of the padded images."""
        return crop(x, drawn, self.pad)


class Flip:
    """Mirror images left to right with *probability*."""

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = probability

    def draw(self, n: int, generator: Generator) -> Tensor:
        """Return which of *n* images are mirrored, (n,)."""
        return torch.rand(n, generator=generator) < self.probability

    def __call__(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Mirror the chosen images of *x* (N, C, H, W)."""
        return flip(x, drawn)


class RandomResizedCrop:
    """
    Cut out a part with a random area and a random ratio of sides, and resize it.

    Areas are uniform in [scale_min, scale_max], ratios log-uniform. A part that does not fit is
    drawn again; after ten tries the part is the whole image. The interpolation is bilinear,
    without a filter against aliasing.

    Source:
        Szegedy et al., "Going Deeper with Convolutions", arXiv:1409.4842, section 6, as
        torchvision implements it. In torchvision, parts end at whole pixels.
    """

    def __init__(
        self, size: Optional[int], scale_min: float, scale_max: float, ratio_max: float
    ) -> None:
        self.size = size
        self._areas = (scale_min, scale_max)
        self._ratio_max = ratio_max

    def draw(self, n: int, generator: Generator) -> Tensor:
        """Return top, left, height and width of the parts of *n* images, as shares, (n, 4)."""
        return _boxes(n, generator, self._areas, self._ratio_max, otherwise=1.0)

    def __call__(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Return the parts of *x* (N, C, H, W), as (N, C, size, size)."""
        height, width = (self.size, self.size) if self.size else x.shape[-2:]
        rows, columns = (_centers(k, x.device) for k in (height, width))
        top, left, tall, wide = drawn.to(x.dtype)[:, :, None].unbind(1)
        y = (2 * (top + tall * rows) - 1)[:, :, None].expand(-1, -1, width)
        across = (2 * (left + wide * columns) - 1)[:, None, :].expand(-1, height, -1)
        grid = torch.stack([across, y], dim=3)
        return F.grid_sample(x, grid, "bilinear", "border", align_corners=False)


class RandomErasing:
    """
    Set a rectangle to 0, the mean of the training set, with *probability*.

    Areas are uniform in [scale_min, scale_max], ratios of sides log-uniform. A rectangle that does
    not fit is drawn again; after ten tries nothing is erased.

    Source:
        Zhong et al., "Random Erasing Data Augmentation", arXiv:1708.04896, algorithm 1.
    """

    def __init__(
        self, probability: float, scale_min: float, scale_max: float, ratio_max: float
    ) -> None:
        self.probability = probability
        self._areas = (scale_min, scale_max)
        self._ratio_max = ratio_max

    def draw(self, n: int, generator: Generator) -> Tensor:
        """Return top, left, height and width for *n* images, as shares, (n, 4); 0 for none."""
        boxes = _boxes(n, generator, self._areas, self._ratio_max, otherwise=0.0)
        chosen = torch.rand(n, generator=generator) < self.probability
        return boxes * chosen[:, None]

    def __call__(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Erase the rectangles in *x* (N, C, H, W)."""
        top, left, tall, wide = drawn.to(x.dtype)[:, :, None].unbind(1)
        rows = inside(_centers(x.shape[2], x.device), top, tall)
        columns = inside(_centers(x.shape[3], x.device), left, wide)
        return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def crop(x: Tensor, shifts: Tensor, pad: int) -> Tensor:
    """Pad *x* (N, C, H, W) by *pad* zeros on each side and cut (H, W) out at *shifts* (N, 2)."""
    n, _, h, w = x.shape
    padded = F.pad(x, (pad, pad, pad, pad))
    rows = shifts[:, 0, None] + torch.arange(h, device=x.device)  # (N, H)
    columns = shifts[:, 1, None] + torch.arange(w, device=x.device)  # (N, W)
    sample = torch.arange(n, device=x.device).view(n, 1, 1)
    cut = padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2).contiguous()


def flip(x: Tensor, chosen: Tensor) -> Tensor:
    """Mirror the *chosen* (N,) images left to right."""
    return torch.where(chosen.view(-1, 1, 1, 1), x.flip(3), x)


def inside(centers: Tensor, begin: Tensor, length: Tensor) -> Tensor:
    """Return which pixel *centers* lie in a part of the side; all are shares of the side."""
    return (centers >= begin) & (centers < begin + length)


def _centers(pixels: int, device: torch.device) -> Tensor:
    return (torch.arange(pixels, device=device) + 0.5) / pixels


def _boxes(
    n: int, generator: Generator, areas: Tuple[float, float], ratio_max: float, otherwise: float
) -> Tensor:
    u = torch.rand(n, 2 * _TRIES + 2, generator=generator)
    area = areas[0] + (areas[1] - areas[0]) * u[:, :_TRIES]
    half = torch.tensor(ratio_max).log() * (u[:, _TRIES : 2 * _TRIES] - 0.5)  # of log(ratio)
    tall, wide = area.sqrt() * torch.exp(-half), area.sqrt() * torch.exp(half)
    fits = (tall <= 1) & (wide <= 1)
    first = fits.int().argmax(dim=1, keepdim=True)  # the first that fits
    found = fits.any(dim=1)
    sides = torch.stack([tall.gather(1, first)[:, 0], wide.gather(1, first)[:, 0]], dim=1)
    sides = torch.where(found[:, None], sides, torch.full_like(sides, otherwise))
    return torch.cat([u[:, -2:] * (1 - sides), sides], dim=1)
