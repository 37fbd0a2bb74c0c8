"""
Pre-activation residual net: norm and activation before each convolution, identity shortcuts.

Source:
    He et al., "Identity Mappings in Deep Residual Networks", arXiv:1603.05027, figure 4(e).
"""

from __future__ import annotations

from typing import List, Optional

from torch import Tensor, nn

from normlab.nets.dropping import Depths, head
from normlab.nets.sites import NetSpec, Site, conv1x1, conv3x3


class PreActivationBlock(nn.Module):
    """
    x + conv(norm(conv(norm(x)))); where shapes change, the shortcut is a projection of norm(x).

    Shape:
        (N, *c_in*, H, W) -> (N, *c_out*, H / *stride*, W / *stride*)
    """

    def __init__(self, net: NetSpec, c_in: int, c_out: int, stride: int, depths: Depths) -> None:
        super().__init__()
        self.norm1 = Site(net, c_in)
        self.conv1 = conv3x3(c_in, c_out, stride)
        self.norm2 = Site(net, c_out)
        self.conv2 = conv3x3(c_out, c_out)
        self.projection: Optional[nn.Module] = None
        if stride > 1 or c_in != c_out:
            self.projection = conv1x1(c_in, c_out, stride)
        self.end = nn.Sequential(*depths.after([]))

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to *x*."""
        h = self.norm1(x)
        shortcut = x if self.projection is None else self.projection(h)
        y: Tensor = shortcut + self.end(self.conv2(self.norm2(self.conv1(h))))
        return y


def preresnet8(net: NetSpec) -> nn.Module:
    """Build a stem with stride 2 and three blocks of widths w, 2w, 4w, stride 2 between them."""
    blocks: List[nn.Module] = []
    before, depths = net.width, Depths(net, 3)
    for stage in range(3):
        width = net.width * 2**stage
        blocks.append(PreActivationBlock(net, before, width, 2 if stage else 1, depths))
        before = width
    return nn.Sequential(
        conv3x3(net.in_channels, net.width, stride=2),
        *blocks,
        Site(net, before),
        *head(net, before),
    )
