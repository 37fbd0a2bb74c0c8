"""
Plain convolutional networks: without shortcuts they are hard to train without normalization.

The deep one with random parameters is like those in papers on signal propagation: its power at each
depth before training shows the effect of a normalizer on the signal.

Source:
    Labatie et al., "Proxy-Normalizing Activations to Match Batch Normalization while Removing
    Batch Dependence", arXiv:2106.03743, its random nets: 3x3 convolutions with circular padding,
    gamma ~ N(1, 0.2^2), beta ~ N(0, 0.2^2). Theirs have width 1024 and draw no classes.
"""

from __future__ import annotations

from typing import List

from torch import nn

from normlab.nets.dropping import head
from normlab.nets.sites import MeanPool, NetSpec, Site, conv3x3
from normlab.norms.activation_norm import ActivationNorm
from normlab.norms.proxy import ProxyNorm

_DEPTH = 100
_SPREAD = 0.2  # deviation of scales and shifts


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


class RandomSite(Site):
    """A site with random scale and shift, if its normalizer has them (see the module)."""

    def __init__(self, net: NetSpec, channels: int) -> None:
        super().__init__(net, channels)
        for module in self.modules():
            if isinstance(module, (ActivationNorm, ProxyNorm)) and module.weight is not None:
                nn.init.normal_(module.weight, 1.0, _SPREAD)
                if module.bias is not None:
                    nn.init.normal_(module.bias, 0.0, _SPREAD)


def randomplain100(net: NetSpec) -> nn.Module:
    """Build 100 convolutions of one width, each with a site after it; the first has stride 2."""
    layers: List[nn.Module] = []
    before = net.in_channels
    for i in range(_DEPTH):
        stride = 1 if i else 2
        layers += [_circular(before, net.width, stride), RandomSite(net, net.width)]
        before = net.width
    return nn.Sequential(*layers, MeanPool(), nn.Linear(before, net.num_classes))


def _circular(c_in: int, c_out: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False, padding_mode="circular")
