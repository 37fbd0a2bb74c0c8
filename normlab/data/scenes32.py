"""
Procedural scenes for segmentation: two striped shapes, one of which may hide part of the other.

Each pixel has a class. The background is class 0. Shapes are class 1 (no stripes) to 4 (the finest
stripes). Outlines, directions, colour, contrast, brightness and noise are independent of it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Tuple

import torch
from torch import Generator, Tensor

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
from normlab.specs.network_and_data import DatasetSpec

_TRAIN, _TEST = 2000, 500
_OBJECTS = 2
_EXTENT = Extent(radius=(0.2, 0.3), centre=(0.25, 0.75))
_FREQUENCIES = (0.0, 0.08, 0.16, 0.3)  # of classes 1 to 4, per pixel


def load(spec: DatasetSpec, data_root: Path) -> Raw:
    """Draw 2,000 scenes for training and 500 for testing, always the same."""
    return Raw(*draw(_TRAIN, seed=1), *draw(_TEST, seed=2), num_classes=5)


def draw(n: int, seed: int) -> Tuple[Tensor, Tensor]:
    """Draw *n* scenes (n, 3, 32, 32) and the classes of their pixels (n, 32, 32)."""
    g = torch.Generator().manual_seed(seed)
    x, y = drawn(n, g)
    return disturbed(x, g, EASY), y


def drawn(n: int, g: Generator) -> Tuple[Tensor, Tensor]:
    """Draw scenes as `draw` does, before contrast, brightness, colour and noise change them."""
    x = 0.5 * coloured(value_noise(n, g), 0.5, g)
    frequencies = torch.tensor(_FREQUENCIES)
    y = torch.zeros(n, S, S, dtype=torch.int64)
    for _ in range(_OBJECTS):
        distance = distances(torch.randint(4, (n,), generator=g), _EXTENT, g)  # (n, S, S)
        texture = torch.randint(4, (n,), generator=g)
        pattern = stripes(uniform(n, 0, math.pi, g), frequencies[texture], g)
        front = coloured(pattern, 1.0, g)
        x = torch.lerp(x, front, torch.sigmoid(1.2 * distance).unsqueeze(1))
        y = torch.where(distance > 0, (texture + 1).view(n, 1, 1), y)
    return x, y
