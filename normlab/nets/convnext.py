"""
A small ConvNeXt: patches of 2 x 2 pixels, and three stages of two blocks.

Source:
    Liu et al., "A ConvNet for the 2020s", arXiv:2201.03545, figure 4: depthwise 7x7 convolution,
    norm, linear, GELU, linear; a norm after the first patches, before each smaller map, and before
    the head. Here the last norm comes before the mean over the map, so that statistics over
    positions are possible. Ours has no scale of branches, which is for deeper nets.
"""

from __future__ import annotations

from typing import List

from torch import nn

from normlab.nets.patches import Added, ChannelsFirst, ChannelsLast, PatchConv, mlp
from normlab.nets.sites import MeanPool, NetSpec, PositionSite

PATCH = 2
_STAGES = 3
_BLOCKS = 2
_KERNEL = 7


def convnext(net: NetSpec) -> nn.Module:
    """Build stages of widths w, 2w and 4w; the side is halved before each."""
    layers: List[nn.Module] = []
    before = net.in_channels
    for stage in range(_STAGES):
        width = net.width * 2**stage
        patches = PatchConv(before, width, PATCH, stride=PATCH)
        norm = PositionSite(net, before if stage else width, channels_last=False)
        layers += [norm, patches] if stage else [patches, norm]
        layers += [_block(net, width) for _ in range(_BLOCKS)]
        before = width
    last = PositionSite(net, before, channels_last=False)
    return nn.Sequential(*layers, last, MeanPool(), nn.Linear(before, net.num_classes))


def _block(net: NetSpec, width: int) -> nn.Module:
    depthwise = PatchConv(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)
    return Added(
        nn.Sequential(
            depthwise,
            ChannelsLast(),
            PositionSite(net, width, channels_last=True),
            *mlp(width),
            ChannelsFirst(),
        )
    )
