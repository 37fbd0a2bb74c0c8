"""
U-Net: reduce to a coarse map and enlarge again, joined with the earlier map at each resolution.

Source:
    Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", arXiv:1505.04597, figure 1. Ours has three resolutions, convolutions that keep
    the side, and a norm before each activation; odd sides are padded with zeros.
"""

from __future__ import annotations

from typing import List

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.nets.sites import NetSpec, PositionLinear, Site, conv3x3

_HALVINGS = 2


class Up(nn.Module):
    """
    Double the side by a transposed convolution, join with *skip*, and convolve twice.

    Shape:
        (N, 2 * *width*, H / 2, W / 2) and (N, *width*, H, W) -> (N, *width*, H, W)
    """

    def __init__(self, net: NetSpec, width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2, bias=False)
        self.level = _level(net, 2 * width, width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Double the side of *x*, join it with *skip*, and convolve."""
        up = self.up(x)
        missing = (0, skip.shape[3] - up.shape[3], 0, skip.shape[2] - up.shape[2])
        if any(missing):
            up = F.pad(up, missing)
        y: Tensor = self.level(self.join(skip, up))
        return y

    def join(self, skip: Tensor, up: Tensor) -> Tensor:
        """Put the channels of *up* after those of *skip*."""
        return torch.cat([skip, up], dim=1)


class UNet(nn.Module):
    """
    Levels of widths w, 2w and 4w, with two convolutions per level on the way down and up.

    Shape:
        (N, C, H, W) -> (N, K, H, W), the logits of each pixel
    """

    def __init__(self, net: NetSpec) -> None:
        super().__init__()
        widths = [net.width * 2**i for i in range(_HALVINGS)]
        inputs = [net.in_channels, *widths]
        self.down = nn.ModuleList(_level(net, a, b) for a, b in zip(inputs, widths))
        self.bottom = _level(net, widths[-1], 2 * widths[-1])
        self.up = nn.ModuleList(Up(net, width) for width in reversed(widths))
        self.head = PositionLinear(net.width, net.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify each pixel of *x*."""
        skips: List[Tensor] = []
        for level in self.down:
            skips.append(level(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.bottom(x)
        for up in self.up:
            x = up(x, skips.pop())
        y: Tensor = self.head(x)
        return y


def _level(net: NetSpec, c_in: int, width: int) -> nn.Module:
    return nn.Sequential(
        conv3x3(c_in, width), Site(net, width), conv3x3(width, width), Site(net, width)
    )
