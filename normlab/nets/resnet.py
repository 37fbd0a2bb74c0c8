"""
Post-activation residual nets, in their CIFAR and their ImageNet form.

Source:
    He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385: section 4.2 for
    CIFAR (shortcuts without parameters), table 1 for ImageNet (projections where shapes change;
    the 3x3 convolution of a bottleneck has the stride, as in later work).
"""

from __future__ import annotations

from typing import List, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from normlab.nets.dropping import Depths, head
from normlab.nets.sites import NetSpec, Site, conv1x1, conv3x3


class Residual(nn.Module):
    """relu(shortcut(x) + branch(x))."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to *x*."""
        return F.relu(self.shortcut(x) + self.branch(x))


class PaddedShortcut(nn.Module):
    """
    Take every *stride*-th position, and fill the channels that *x* does not have with zeros.

    Shape:
        (N, C, H, W) -> (N, C + *more*, H / *stride*, W / *stride*)
    """

    def __init__(self, more: int, stride: int) -> None:
        super().__init__()
        self.more = more
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Take fewer positions of *x*, and add channels."""
        half = self.more // 2
        thin = x[:, :, :: self.stride, :: self.stride]
        return F.pad(thin, (0, 0, 0, 0, half, self.more - half))

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return f"more={self.more}, stride={self.stride}"


def resnet20(net: NetSpec) -> nn.Module:
    """Build the CIFAR form with three blocks per stage."""
    return _cifar_resnet(net, blocks=3)


def resnet56(net: NetSpec) -> nn.Module:
    """Build the CIFAR form with nine blocks per stage."""
    return _cifar_resnet(net, blocks=9)


def resnet18(net: NetSpec) -> nn.Module:
    """Build the ImageNet form with basic blocks."""
    return _imagenet_resnet(net, blocks=(2, 2, 2, 2), bottleneck=False)


def resnet50(net: NetSpec) -> nn.Module:
    """Build the ImageNet form with bottlenecks."""
    return _imagenet_resnet(net, blocks=(3, 4, 6, 3), bottleneck=True)


def _cifar_resnet(net: NetSpec, blocks: int) -> nn.Module:
    layers: List[nn.Module] = [conv3x3(net.in_channels, net.width), Site(net, net.width)]
    before, depths = net.width, Depths(net, 3 * blocks)
    for stage in range(3):
        width = net.width * 2**stage
        for block in range(blocks):
            stride = 2 if stage and block == 0 else 1
            same = stride == 1 and before == width
            shortcut = nn.Identity() if same else PaddedShortcut(width - before, stride)
            branch = nn.Sequential(*depths.after(_basic(net, before, width, stride)))
            layers.append(Residual(branch, shortcut))
            before = width
    return nn.Sequential(*layers, *head(net, before))


def _imagenet_resnet(net: NetSpec, blocks: Sequence[int], bottleneck: bool) -> nn.Module:
    stem = nn.Conv2d(net.in_channels, net.width, 7, stride=2, padding=3, bias=False)
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    layers: List[nn.Module] = [stem, Site(net, net.width), pool]
    before, depths = net.width, Depths(net, sum(blocks))
    for stage, count in enumerate(blocks):
        narrow = net.width * 2**stage
        wide = 4 * narrow if bottleneck else narrow
        for block in range(count):
            stride = 2 if stage and block == 0 else 1
            if bottleneck:
                branch = _bottleneck(net, before, narrow, wide, stride)
            else:
                branch = _basic(net, before, wide, stride)
            whole = nn.Sequential(*depths.after(branch))
            layers.append(Residual(whole, _projection(net, before, wide, stride)))
            before = wide
    return nn.Sequential(*layers, *head(net, before))


def _basic(net: NetSpec, c_in: int, c_out: int, stride: int) -> List[nn.Module]:
    return [
        conv3x3(c_in, c_out, stride),
        Site(net, c_out),
        conv3x3(c_out, c_out),
        Site(net, c_out, activation=False),
    ]


def _bottleneck(net: NetSpec, c_in: int, narrow: int, c_out: int, stride: int) -> List[nn.Module]:
    return [
        conv1x1(c_in, narrow),
        Site(net, narrow),
        conv3x3(narrow, narrow, stride),
        Site(net, narrow),
        conv1x1(narrow, c_out),
        Site(net, c_out, activation=False),
    ]


def _projection(net: NetSpec, c_in: int, c_out: int, stride: int) -> nn.Module:
    if stride == 1 and c_in == c_out:
        return nn.Identity()
    return nn.Sequential(conv1x1(c_in, c_out, stride), Site(net, c_out, activation=False))
