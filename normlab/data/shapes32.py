"""
Procedural images of 16 classes: 4 shapes, each filled with one of 4 textures.

Class y has texture y mod 4 (the direction of its stripes) and shape y div 4 (disc, square,
triangle, cross). Colour, contrast, brightness and noise say nothing of the class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Tuple

import torch
from torch import Generator, Tensor

from normlab.data.raw import Raw

S = 32  # side of an image, in pixels
_TRAIN, _TEST = 6000, 3000
_PIECE = 500  # images drawn at a time: they stay in the processor's cache


@dataclass(frozen=True)
class Nuisance:
    """What varies from image to image whatever the class."""

    contrast: Tuple[float, float]  # log-uniform in this range
    brightness: float  # standard deviations
    colour: float


EASY = Nuisance(contrast=(0.6, 1.4), brightness=0.3, colour=0.15)
HARD = Nuisance(contrast=(0.2, 2.0), brightness=1.0, colour=0.3)


def load(hard: bool = False) -> Raw:
    """Draw 6,000 images for training and 3,000 for testing, always the same."""
    nuisance = HARD if hard else EASY
    train_x, train_y = draw(_TRAIN, seed=1, nuisance=nuisance)
    test_x, test_y = draw(_TEST, seed=2, nuisance=nuisance)
    return Raw(train_x, train_y, test_x, test_y, num_classes=16)


def draw(n: int, seed: int, nuisance: Nuisance) -> Tuple[Tensor, Tensor]:
    """Draw *n* images (n, 3, 32, 32) and their classes (n,)."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(16, (n,), generator=g)
    x = torch.empty(n, 3, S, S)
    for start in range(0, n, _PIECE):
        piece = slice(start, start + _PIECE)
        x[piece] = _images(y[piece], g, nuisance)
    return x, y


def _images(y: Tensor, g: Generator, nuisance: Nuisance) -> Tensor:
    n = len(y)
    mask = _shapes(y // 4, g)  # (n, S, S)
    inside = _stripes(
        (y % 4) * (math.pi / 4) + 0.1 * torch.randn(n, generator=g), _uniform(n, 0.14, 0.22, g), g
    )
    behind = 0.6 * _stripes(_uniform(n, 0, math.pi, g), _uniform(n, 0.06, 0.22, g), g)
    behind = behind + 0.6 * _value_noise(n, g)
    front = _coloured(inside, 1.0, g)  # (n, 3, S, S)
    back = _coloured(behind, 0.5, g)
    x = torch.lerp(back, front, mask.unsqueeze(1))
    return _disturbed(x, g, nuisance)


def _disturbed(x: Tensor, g: Generator, nuisance: Nuisance) -> Tensor:
    n = len(x)
    low, high = (math.log(c) for c in nuisance.contrast)
    contrast = _uniform(n, low, high, g).exp().view(n, 1, 1, 1)
    colour = 1 + nuisance.colour * torch.randn(n, 3, 1, 1, generator=g)
    brightness = nuisance.brightness * torch.randn(n, 1, 1, 1, generator=g)
    x = x + 0.15 * torch.randn(x.shape, generator=g)
    return x * (contrast * colour) + brightness


def _coloured(pattern: Tensor, gain: float, g: Generator) -> Tensor:
    n = len(pattern)
    gains = gain * (1 + 0.5 * torch.randn(n, 3, 1, 1, generator=g))
    offsets = 0.5 * torch.randn(n, 3, 1, 1, generator=g)
    return gains * pattern.unsqueeze(1) + offsets


def _shapes(shape: Tensor, g: Generator) -> Tensor:
    n = len(shape)
    r = _column(_uniform(n, 0.24 * S, 0.36 * S, g))
    cx, cy = (_column(_uniform(n, 0.36 * S, 0.64 * S, g)) for _ in "xy")
    angle = _column(_uniform(n, -0.35, 0.35, g))
    rows, columns = _grid()
    dx, dy = columns - cx, rows - cy
    u = angle.cos() * dx + angle.sin() * dy  # the pixel as the turned shape sees it
    v = angle.cos() * dy - angle.sin() * dx
    distance = torch.empty(n, S, S)  # to the outline, positive inside
    for number, signed in enumerate((_disc, _square, _triangle, _cross)):
        chosen = shape == number
        distance[chosen] = signed(u[chosen], v[chosen], r[chosen])
    return torch.sigmoid(1.2 * distance)


def _disc(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    return r - (u.square() + v.square()).sqrt()


def _square(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    return 0.88 * r - torch.maximum(u.abs(), v.abs())


def _triangle(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    k = math.sqrt(3) / 2
    return torch.minimum(0.62 * r - v, 0.62 * r + 0.5 * v - k * u.abs())


def _cross(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    bar = torch.minimum(0.36 * r - u.abs(), 1.1 * r - v.abs())
    return torch.maximum(bar, torch.minimum(0.36 * r - v.abs(), 1.1 * r - u.abs()))


def _stripes(direction: Tensor, frequency: Tensor, g: Generator) -> Tensor:
    n = len(direction)
    phase = _column(_uniform(n, 0, 2 * math.pi, g))
    rows, columns = _grid()
    along_x = _column(2 * math.pi * frequency * direction.cos())
    along_y = _column(2 * math.pi * frequency * direction.sin())
    return (along_x * columns + along_y * rows + phase).sin()


def _value_noise(n: int, g: Generator) -> Tensor:
    # Normals on a lattice of 6 pixels, joined by smoothstep: x -> M x M', M (S, lattice).
    lattice = (S - 1) // 6 + 2
    position = torch.arange(S) / 6
    cell = position.floor().long()
    t = position - cell
    t = t * t * (3 - 2 * t)
    m = torch.zeros(S, lattice)
    m[torch.arange(S), cell] = 1 - t
    m[torch.arange(S), cell + 1] = t
    return m @ torch.randn(n, lattice, lattice, generator=g) @ m.T


def _grid() -> Tuple[Tensor, Tensor]:
    side = torch.arange(S, dtype=torch.float32)
    return side.view(1, S, 1), side.view(1, 1, S)


def _column(x: Tensor) -> Tensor:
    return x.view(-1, 1, 1)


def _uniform(n: int, low: float, high: float, g: Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=g)
