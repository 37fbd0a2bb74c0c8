"""The packed forms of nets of patches and of recurrent nets: channels last, member by member."""

from __future__ import annotations

from typing import List

import torch
from torch import Tensor

from normlab.nets.lstm import GATES, GateLinear, Lstm
from normlab.nets.patches import TokenLinear
from normlab.nets.vit import Attention, VisionTransformer
from normlab.training.packs.layers import PackedLinear
from normlab.training.packs.per_member import by_member


class _LastLinear(PackedLinear):
    """
    A linear layer of each member over the last dimension.

    Shape:
        (..., S * C) -> (..., S * K)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map the channels of each member at each position."""
        rows = by_member(x, self.members, x.dim() - 1).movedim(-2, 0)  # (S, ..., C)
        y = self.of_each(rows.flatten(1, -2))
        return y.view(*rows.shape[:-1], -1).movedim(0, -2).flatten(-2)


class PackedTokenLinear(_LastLinear, TokenLinear):
    """A linear layer on each token of S members."""


class PackedGateLinear(_LastLinear, GateLinear):
    """A linear layer before the gates of S members."""


class PackedAttention(Attention):
    """Attention of S members, each over its own tokens."""

    members: int

    def forward(self, x: Tensor) -> Tensor:
        """Apply attention within each member's tokens."""
        n, tokens, wide = x.shape
        each = (n, tokens, self.members, 3, self.heads, wide // self.members // self.heads)
        # (N, S, heads, T, d)
        q, k, v = self.inputs(x).reshape(each).permute(3, 0, 2, 4, 1, 5).unbind(0)
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        seen = (scores.softmax(-1) @ v).permute(0, 3, 1, 2, 4).reshape(n, tokens, wide)
        y: Tensor = self.output(seen)
        return y


class PackedVisionTransformer(VisionTransformer):
    """Vision transformers of S members, each with its positions."""

    members: int

    def forward(self, x: Tensor) -> Tensor:
        """Classify the image of each member."""
        positions = self.positions.transpose(0, 1).flatten(1)  # (S, T, C) -> (T, S * C)
        tokens = self.patches(x).flatten(2).transpose(1, 2) + positions
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return logits


class PackedLstm(Lstm):
    """Recurrent nets of S members, each with its gates and its cell."""

    members: int

    def forward(self, x: Tensor) -> Tensor:
        """Read the sequence of each member, from its first character to its last."""
        inputs = self.input(x.transpose(1, 2)).unbind(1)  # T of (N, S * 4 * width)
        c = x.new_zeros(len(x), self.members, self.width)
        h = c.flatten(1)
        states: List[Tensor] = []
        for step, part in enumerate(inputs):
            gates = by_member(self.norm(part + self.state(h), step), self.members, 1)
            i, f, o = gates[:, :, : -self.width].sigmoid().chunk(GATES - 1, dim=2)
            c = f * c + i * gates[:, :, -self.width :].tanh()
            h = (o * c.tanh()).flatten(1)
            states.append(h)
        y: Tensor = self.head(self.drop(torch.stack(states, dim=2)))
        return y
