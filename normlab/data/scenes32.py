"""
Procedural scenes for segmentation: two shapes, one of which may hide part of the other.

Each pixel has a class: 0 behind everything, else 1 + the shape (disc, square, triangle, cross) in
front there. Stripes, colour, contrast, brightness and noise say nothing of the class.
"""

from __future__ import annotations

import math
from typing import Tuple

import torch
from torch import Tensor

from normlab.data.drawing import (
    EASY,
    Extent,
    S,
    coloured,
    distances,
    disturbed,
    stripes,
    uniform,
    value_noise,
)
from normlab.data.raw import Raw

_TRAIN, _TEST = 2000, 500
_OBJECTS = 2
_EXTENT = Extent(radius=(0.18, 0.28), centre=(0.2, 0.8))


def load() -> Raw:
    """Draw 2,000 scenes for training and 500 for testing, always the same."""
    return Raw(*draw(_TRAIN, seed=1), *draw(_TEST, seed=2), num_classes=5)


def draw(n: int, seed: int) -> Tuple[Tensor, Tensor]:
    """Draw *n* scenes (n, 3, 32, 32) and the classes of their pixels (n, 32, 32)."""
    g = torch.Generator().manual_seed(seed)
    x = coloured(value_noise(n, g), 0.5, g)
    y = torch.zeros(n, S, S, dtype=torch.int64)
    for _ in range(_OBJECTS):
        shape = torch.randint(4, (n,), generator=g)
        distance = distances(shape, _EXTENT, g)  # (n, S, S)
        pattern = stripes(uniform(n, 0, math.pi, g), uniform(n, 0.14, 0.22, g), g)
        front = coloured(pattern, 1.0, g)
        x = torch.lerp(x, front, torch.sigmoid(1.2 * distance).unsqueeze(1))
        y = torch.where(distance > 0, (shape + 1).view(n, 1, 1), y)
    return disturbed(x, g, EASY), y
