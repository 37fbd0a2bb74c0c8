"""A plain convolutional net without shortcuts, which is hard to train without normalization."""

from __future__ import annotations

from typing import List

from torch import nn

from normlab.nets.dropping import head
from normlab.nets.sites import NetSpec, Site, conv3x3


def convnet(net: NetSpec) -> nn.Module:
    """Build six 3x3 convolutions of widths w, w, 2w, 2w, 4w, 4w; the side is halved twice."""
    layers: List[nn.Module] = []
    before = net.in_channels
    for stage in range(3):
        width = net.width * 2**stage
        for i in range(2):
            stride = 2 if stage and i == 0 else 1
            layers += [conv3x3(before, width, stride), Site(net, width)]
            before = width
    return nn.Sequential(*layers, *head(net, before))
