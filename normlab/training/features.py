"""
The features by which pictures are compared: those of a fixed network with random filters.

Nothing is downloaded and nothing is trained, so everybody has the same features. Random filters
distinguish textures nearly as well as trained ones, because the information in the products of
features comes from the structure of the layers.

Source:
    Ustyuzhaninov et al., "What does it take to generate natural textures?", ICLR 2017; He, Wang
    and Hopcroft, "A Powerful Generative Model Using Random Weights for the Deep Image
    Representation", arXiv:1606.04801. The papers on style transfer use a trained VGG.
"""

from __future__ import annotations

from functools import lru_cache
from typing import List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

SEED = 1607  # the seed of the filters
WIDTHS = (16, 32, 64)  # channels of each level; the side is halved between levels


def features(x: Tensor) -> List[Tensor]:
    """
    Return the features of *x* at each level: 3x3 convolution, ReLU, and the mean of 2x2 between.

    Shape:
        (N, C, H, W) -> (N, 16, H, W), (N, 32, H / 2, W / 2), (N, 64, H / 4, W / 4), float32
    """
    x = x.float()
    found: List[Tensor] = []
    for filters in _filters(x.shape[1], x.device):
        before = F.avg_pool2d(found[-1], 2) if found else x
        found.append(F.relu(F.conv2d(before, filters, padding=1)))
    return found


def products(f: Tensor) -> Tensor:
    """
    Return the mean over positions of the products of all pairs of features, Gram's matrix.

    Shape:
        (N, C, H, W) -> (N, C, C)
    """
    rows = f.flatten(2)
    return rows @ rows.transpose(1, 2) / rows.shape[2]


@lru_cache(maxsize=8)
def _filters(channels: int, device: torch.device) -> Tuple[Tensor, ...]:
    """Draw He's normal filters on the host, so that they are the same on every device."""
    g = torch.Generator().manual_seed(SEED)
    shapes = [(c_out, c_in, 3, 3) for c_in, c_out in zip((channels, *WIDTHS), WIDTHS)]
    drawn = (torch.randn(shape, generator=g, device="cpu") for shape in shapes)
    return tuple((f * (2 / f[0].numel()) ** 0.5).to(device) for f in drawn)
