"""
Procedural scenes of low to high contrast, and one texture whose style the network gives them.

The target of a sample is the scene, followed by the texture. Every sample has the same texture,
because a network of this kind learns one style.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Callable, Dict, Tuple

import torch
from torch import Tensor

from normlab.data.drawing import Nuisance, S, disturbed, stripes, value_noise
from normlab.data.raw import Raw
from normlab.data.scenes32 import drawn
from normlab.specs.network_and_data import DatasetSpec

_TRAIN, _TEST = 1000, 200
_NUISANCE = Nuisance(contrast=(0.2, 2.0), brightness=0.3, colour=0.3)
_SEED = 3  # the seed of the textures' colours and phases
_FREQUENCY = 0.125  # per pixel
_SHARP = 3.0  # a larger number gives sharper borders between the two colours


def load(spec: DatasetSpec, data_root: Path) -> Raw:
    """Draw 1,000 scenes for training and 200 for testing, always the same, and the texture."""
    train, test = scenes(_TRAIN, seed=1), scenes(_TEST, seed=2)
    mean = train.mean((0, 2, 3), keepdim=True)
    deviation = train.std((0, 2, 3), keepdim=True)
    style = texture(str(spec.options["style"]))
    splits = (_with(style, (x - mean) / deviation) for x in (train, test))
    return Raw(*next(splits), *next(splits), num_classes=1, standardize=False)


def scenes(n: int, seed: int) -> Tensor:
    """Draw *n* scenes (n, 3, S, S) like those of `scenes32`, with a contrast of 0.2 to 2."""
    g = torch.Generator().manual_seed(seed)
    return disturbed(drawn(n, g)[0], g, _NUISANCE)


def texture(name: str) -> Tensor:
    """
    Draw the texture *name* in two colours.

    Shape:
        (3, S, S), with mean 0 and deviation 1 in each channel
    """
    g = torch.Generator().manual_seed(_SEED)
    pattern = torch.tanh(_SHARP * _PATTERNS[name](g))
    signs = torch.tensor([1.0, 1.0, -1.0]).view(3, 1, 1)  # yellow and blue
    grain = 0.1 * torch.randn(3, S, S, generator=g)
    x = signs * pattern + grain
    x = x - x.mean((1, 2), keepdim=True)
    return x / x.std((1, 2), keepdim=True)


def _with(style: Tensor, x: Tensor) -> Tuple[Tensor, Tensor]:
    return x, torch.cat([x, style.expand_as(x)], dim=1)


def _stripes(g: torch.Generator, direction: float = math.pi / 4) -> Tensor:
    return stripes(torch.tensor([direction]), torch.tensor([_FREQUENCY]), g)[0]


def _checks(g: torch.Generator) -> Tensor:
    return _stripes(g, 0.0) * _stripes(g, math.pi / 2)


def _waves(g: torch.Generator) -> Tensor:
    down = torch.arange(S).view(S, 1)
    across = torch.arange(S).view(1, S)
    bent = down + 3 * torch.sin(2 * math.pi * _FREQUENCY * across)
    return torch.sin(2 * math.pi * _FREQUENCY * bent)


def _blobs(g: torch.Generator) -> Tensor:
    return value_noise(1, g)[0]


_PATTERNS: Dict[str, Callable[[torch.Generator], Tensor]] = {
    "checks": _checks,
    "stripes": _stripes,
    "waves": _waves,
    "blobs": _blobs,
}
