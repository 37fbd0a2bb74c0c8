"""
A one-stage detector without anchors, which joins a coarse map with a finer one, the grid.

Source:
    Zhou, Wang and Kraehenbuehl, "Objects as Points", arXiv:1904.07850, for the map of centres;
    Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", arXiv:1904.01355, for the
    four distances at each cell and the normalizers in the head (theirs are group norms); Lin et
    al., "Feature Pyramid Networks for Object Detection", arXiv:1612.03144, for the joined maps.
    Ours has five convolutions in the body and one in the head.
"""

from __future__ import annotations

from typing import Tuple

import torch
from torch import Tensor, nn

from normlab.nets.sites import NetSpec, PositionLinear, Site, conv3x3

_EDGES = 4


class Detector(nn.Module):
    """
    Classify each cell of a grid with half the side, and predict the box around it.

    Shape:
        (N, C, H, W) -> (N, K + 4, H / 2, W / 2): a logit for each class, and the distances to
        the left, top, right and bottom edge, as `training.detection` reads them
    """

    def __init__(self, net: NetSpec) -> None:
        super().__init__()
        w = net.width
        self.fine = nn.Sequential(
            *_layer(net, net.in_channels, w), *_layer(net, w, 2 * w, 2), *_layer(net, 2 * w, 2 * w)
        )
        self.coarse = nn.Sequential(*_layer(net, 2 * w, 4 * w, 2), *_layer(net, 4 * w, 4 * w))
        self.up = nn.ConvTranspose2d(4 * w, 2 * w, 2, stride=2, bias=False)
        self.head = nn.Sequential(*_layer(net, 4 * w, 2 * w))
        self.found = PositionLinear(2 * w, net.num_classes + _EDGES)

    def forward(self, x: Tensor) -> Tensor:
        """Look for objects in *x*."""
        fine = self.fine(x)
        up = self.up(self.coarse(fine))
        up = up[:, :, : fine.shape[2], : fine.shape[3]]  # cut if the side is odd
        found: Tensor = self.found(self.head(self.join(fine, up)))
        return found

    def join(self, fine: Tensor, up: Tensor) -> Tensor:
        """Put the channels of *up* after those of *fine*."""
        return torch.cat([fine, up], dim=1)


def _layer(net: NetSpec, c_in: int, c_out: int, stride: int = 1) -> Tuple[nn.Module, nn.Module]:
    return conv3x3(c_in, c_out, stride), Site(net, c_out)
