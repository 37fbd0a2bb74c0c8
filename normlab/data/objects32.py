"""
Procedural scenes for detection: one to four shapes apart from one another, on smooth noise.

The class of an object is its outline: disc, square, triangle or cross. Its stripes, their
direction, colour, contrast, brightness and noise are independent of it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import List, Tuple

import torch
from torch import Generator, Tensor

from normlab.data.drawing import (
    EASY,
    Extent,
    Places,
    S,
    coloured,
    distances_at,
    disturbed,
    places,
    stripes,
    uniform,
    value_noise,
)
from normlab.data.raw import Raw
from normlab.specs.network_and_data import DatasetSpec

MOST = 4  # objects in a picture
_TRAIN, _TEST = 2000, 500
_TRIES = 12  # random places that are tried for them
_APART = 1.2  # the least distance along rows or columns, in sums of two radii
_EXTENT = Extent(radius=(0.12, 0.2), centre=(0.18, 0.82))
_FREQUENCY = (0.0, 0.2)  # of stripes, per pixel


def load(spec: DatasetSpec, data_root: Path) -> Raw:
    """Draw 2,000 scenes for training and 500 for testing, always the same."""
    return Raw(*draw(_TRAIN, seed=1), *draw(_TEST, seed=2), num_classes=4)


def draw(n: int, seed: int) -> Tuple[Tensor, Tensor]:
    """
    Draw *n* scenes and their objects.

    A row holds the class and the left, top, right and bottom edge, in sides of the picture. Rows
    without an object have class -1 and are at the end.

    Shape:
        (n, 3, S, S) and (n, MOST, 5), float32
    """
    g = torch.Generator().manual_seed(seed)
    x = 0.5 * coloured(value_noise(n, g), 0.5, g)
    wanted = torch.randint(1, MOST + 1, (n,), generator=g)
    before: List[Tuple[Places, Tensor]] = []
    boxes: List[Tensor] = []
    for _ in range(_TRIES):
        at, shape = places(n, _EXTENT, g), torch.randint(4, (n,), generator=g)
        there = _is_free(at, before) & (_counted(before, n) < wanted)
        before.append((at, there))
        distance = distances_at(shape, at)
        front = coloured(_pattern(n, g), 1.0, g)
        painted = torch.sigmoid(1.2 * distance) * there.view(n, 1, 1)
        x = torch.lerp(x, front, painted.unsqueeze(1))
        boxes.append(_rows(shape, distance, there))
    return disturbed(x, g, EASY), _first(torch.stack(boxes, 1))


def _pattern(n: int, g: Generator) -> Tensor:
    return stripes(uniform(n, 0, math.pi, g), uniform(n, *_FREQUENCY, g), g)


def _is_free(at: Places, before: List[Tuple[Places, Tensor]]) -> Tensor:
    free = torch.ones(len(at.x), dtype=torch.bool)
    for other, there in before:
        apart = torch.maximum((at.x - other.x).abs(), (at.y - other.y).abs())
        free &= ~there | (apart > _APART * (at.radius + other.radius))
    return free


def _counted(before: List[Tuple[Places, Tensor]], n: int) -> Tensor:
    return sum((there.long() for _, there in before), torch.zeros(n, dtype=torch.int64))


def _rows(shape: Tensor, distance: Tensor, there: Tensor) -> Tensor:
    """Return the class and the edges of the pixels inside each shape: (n, 5)."""
    inside = distance > 0  # (n, S, S)
    pixels = torch.arange(S)
    edges = []
    for over in (1, 2):  # the columns that have pixels of the shape, then the rows
        line = inside.any(over)  # (n, S)
        edges.append(torch.where(line, pixels, S).amin(1))
        edges.append(torch.where(line, pixels, -1).amax(1) + 1)
    left, right, top, bottom = edges
    box = torch.stack([left, top, right, bottom], 1) / S
    rows = torch.cat([shape.unsqueeze(1).float(), box], 1)
    return torch.where(there.unsqueeze(1), rows, torch.tensor([-1.0, 0, 0, 0, 0]))


def _first(rows: Tensor) -> Tensor:
    """Move the objects before the empty rows, and keep `MOST`."""
    order = torch.sort((rows[:, :, 0] < 0).long(), dim=1, stable=True).indices
    return rows.gather(1, order.unsqueeze(2).expand_as(rows))[:, :MOST].contiguous()
