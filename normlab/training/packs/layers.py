"""Layers that need a special packed form: they process the channels of each member."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.nets.detector import Detector
from normlab.nets.resnet import PaddedShortcut
from normlab.nets.sites import PositionLinear
from normlab.nets.unet import Up
from normlab.training.packs.per_member import apart, by_member, together


class PackedLinear(nn.Linear):
    """
    A linear layer of each member: one product of batches of matrices.

    Shape:
        (N, S * C) -> (N, S * K), with a weight of (S * K, C)
    """

    members: int

    def forward(self, x: Tensor) -> Tensor:
        """Map the features of each member."""
        return together(self.of_each(apart(x, self.members)))

    def of_each(self, x: Tensor) -> Tensor:
        """Map (S, N, C) to (S, N, K)."""
        weight = by_member(self.weight, self.members).transpose(1, 2)  # (S, C, K)
        bias = self._parameters["bias"]
        if bias is None:
            return torch.bmm(x, weight)
        return torch.baddbmm(bias.view(self.members, 1, -1), x, weight)


class PackedPositionLinear(PackedLinear, PositionLinear):
    """
    The same for each position.

    Shape:
        (N, S * C, positions...) -> (N, S * K, positions...)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map the channels of each member at each position."""
        rows = apart(x, self.members).movedim(2, -1)  # (S, N, positions..., C)
        y = self.of_each(rows.flatten(1, -2))
        return together(y.view(*rows.shape[:-1], -1).movedim(-1, 2))


class PackedShortcut(PaddedShortcut):
    """Every *stride*-th position, and zeros after and before the channels of each member."""

    members: int

    def forward(self, x: Tensor) -> Tensor:
        """Take the positions, and add the zeros."""
        half = self.more // 2
        thin = by_member(x[:, :, :: self.stride, :: self.stride], self.members, 1)
        return F.pad(thin, (0, 0, 0, 0, half, self.more - half)).flatten(1, 2)


class PackedUp(Up):
    """An upsampling step of a U-Net that joins the maps of each member."""

    members: int

    def join(self, skip: Tensor, up: Tensor) -> Tensor:
        """Put the channels of *up* after those of *skip*, member by member."""
        return _joined(skip, up, self.members)


class PackedDetector(Detector):
    """A detector that joins the maps of each member."""

    members: int

    def join(self, fine: Tensor, up: Tensor) -> Tensor:
        """Put the channels of *up* after those of *fine*, member by member."""
        return _joined(fine, up, self.members)


def _joined(first: Tensor, second: Tensor, members: int) -> Tensor:
    parts = [by_member(part, members, 1) for part in (first, second)]
    return torch.cat(parts, dim=2).flatten(1, 2)
