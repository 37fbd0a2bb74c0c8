"""
The layout of a pack, and the form of a layer that works for every kind: one layer per member.

S is the number of members. Activations of a pack are (N, S * C, positions...): the channels of the
first member, then those of the second. Tensors of a layer are joined along their first dimension,
(S * C, ...), and scalars become (S,), so that `view(S, ...)` shows them member by member.
"""

from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor, nn


class PerMember(nn.Module):
    """
    Divide the members among several layers: for layers without a packed form, or with other
    options.

    Args:
        layers: each maps (N, M * C, positions...) to (N, M * C', positions...) for its M members.
        members: the number M of members of each layer, in the order of the pack.
        dim: the dimension of the channels, such as the last one.

    Shape:
        (N, S * C, positions...) -> (N, S * C', positions...)
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        members: Sequence[int],
        dim: int,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.members = list(members)
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Split *x*, apply the layers, and join the results."""
        channels = x.shape[self.dim] // sum(self.members)
        sizes = [channels * members for members in self.members]
        parts = torch.split(x, sizes, self.dim)
        return torch.cat([layer(part) for layer, part in zip(self.layers, parts)], dim=self.dim)


def together(x: Tensor) -> Tensor:
    """Put the samples of the members side by side: (S, N, C, ...) -> (N, S * C, ...)."""
    return x.transpose(0, 1).flatten(1, 2)


def apart(y: Tensor, members: int) -> Tensor:
    """Split channels by member: (N, S * C, ...) -> (S, N, C, ...)."""
    return by_member(y, members, 1).transpose(0, 1)


def by_member(x: Tensor, members: int, dim: int = 0) -> Tensor:
    """Split a dimension that members share: (..., S * C, ...) -> (..., S, C, ...)."""
    return x.reshape(*x.shape[:dim], members, -1, *x.shape[dim + 1 :])


def join(tensors: Sequence[Tensor]) -> Tensor:
    """Join a tensor of each member: S of (C, ...) -> (S * C, ...), and S of () -> (S,)."""
    return torch.stack(list(tensors)) if tensors[0].dim() == 0 else torch.cat(list(tensors))


def to_channels(per_member: Tensor, channels: int) -> Tensor:
    """Repeat a number of each member for each of its channels: (S,) -> (*channels*,)."""
    return repeated(per_member, channels // per_member.numel())


def repeated(x: Tensor, times: int) -> Tensor:
    """Repeat each entry of the last dimension; IPUs have no single operator for this."""
    return x.unsqueeze(-1).expand(*x.shape, times).flatten(-2)
