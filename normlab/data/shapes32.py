"""
Procedural images of 16 classes: 4 shapes, each filled with one of 4 textures.

Class y has texture y mod 4 (the direction of its stripes) and shape y div 4 (disc, square,
triangle, cross). Colour, contrast, brightness and noise are independent of the class.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Tuple

import torch
from torch import Generator, Tensor

from normlab.data.drawing import (
    EASY,
    HARD,
    Extent,
    Nuisance,
    S,
    coloured,
    distances,
    disturbed,
    stripes,
    uniform,
    value_noise,
)
from normlab.data.raw import Raw
from normlab.specs.network_and_data import DatasetSpec

_TRAIN, _TEST = 6000, 3000
_PIECE = 500  # images drawn at a time; so many fit into the processor's cache
_EXTENT = Extent(radius=(0.24, 0.36), centre=(0.36, 0.64))


def load(spec: DatasetSpec, data_root: Path) -> Raw:
    """Draw 6,000 images for training and 3,000 for testing, always the same."""
    nuisance = HARD if spec.name == "shapes32_hard" else EASY
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
    mask = torch.sigmoid(1.2 * distances(y // 4, _EXTENT, g))  # (n, S, S)
    inside = stripes(
        (y % 4) * (math.pi / 4) + 0.1 * torch.randn(n, generator=g), uniform(n, 0.14, 0.22, g), g
    )
    behind = 0.6 * stripes(uniform(n, 0, math.pi, g), uniform(n, 0.06, 0.22, g), g)
    behind = behind + 0.6 * value_noise(n, g)
    front = coloured(inside, 1.0, g)  # (n, 3, S, S)
    back = coloured(behind, 0.5, g)
    x = torch.lerp(back, front, mask.unsqueeze(1))
    return disturbed(x, g, nuisance)
