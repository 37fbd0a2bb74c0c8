"""
A feed-forward net that draws a picture in another style.

Source:
    Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and
    Super-Resolution", arXiv:1603.08155, and its supplement, with batch norm; Ulyanov, Vedaldi and
    Lempitsky, "Instance Normalization: The Missing Ingredient for Fast Stylization",
    arXiv:1607.08022, replace batch norm by instance norm. Ours has two residual blocks instead of
    five, 3x3 convolutions with zero padding, and a linear last layer without tanh, because
    pictures are standardized and have no bounds.
"""

from __future__ import annotations

from typing import List

from torch import Tensor, nn

from normlab.nets.sites import NetSpec, PositionLinear, Site, conv3x3

_BLOCKS = 2


class Block(nn.Module):
    """x + branch(x), without an activation after the sum: (N, C, H, W) -> the same."""

    def __init__(self, net: NetSpec, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            conv3x3(width, width),
            Site(net, width),
            conv3x3(width, width),
            Site(net, width, activation=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to *x*."""
        y: Tensor = x + self.branch(x)
        return y


class Stylizer(nn.Module):
    """
    Reduce the side to a quarter, apply residual blocks, and enlarge it again.

    Shape:
        (N, C, H, W) -> the same
    """

    def __init__(self, net: NetSpec) -> None:
        super().__init__()
        w = net.width
        widths = (net.in_channels, w, 2 * w, 4 * w)
        self.down = nn.ModuleList(
            nn.Sequential(conv3x3(a, b, 1 if i == 0 else 2), Site(net, b))
            for i, (a, b) in enumerate(zip(widths, widths[1:]))
        )
        self.blocks = nn.Sequential(*(Block(net, 4 * w) for _ in range(_BLOCKS)))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * b, b, 2, stride=2, bias=False) for b in (2 * w, w)
        )
        self.norms = nn.ModuleList(Site(net, b) for b in (2 * w, w))
        self.colours = PositionLinear(w, net.in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Draw *x* in the learned style."""
        maps: List[Tensor] = []
        for down in self.down:
            x = down(x)
            maps.append(x)
        x = self.blocks(x)
        for up, norm, like in zip(self.up, self.norms, reversed(maps[:-1])):
            x = norm(up(x)[:, :, : like.shape[2], : like.shape[3]])  # an odd side is cut
        y: Tensor = self.colours(x)
        return y
