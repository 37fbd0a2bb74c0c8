"""
A small vision transformer: patches of 4 x 4 pixels, and four blocks.

Source:
    Dosovitskiy et al., "An Image is Worth 16x16 Words", arXiv:2010.11929, section 3.1: a learned
    position for each patch, norms before attention and MLP, GELU. The mean over the patches
    replaces the class token, as in Beyer et al., "Better plain ViT baselines", arXiv:2205.01580.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from normlab.nets.patches import Added, PatchConv, TokenLinear, mlp
from normlab.nets.sites import NetSpec, PositionSite

PATCH = 4
_DEPTH = 4
_HEAD = 16  # channels of one head
_POSITION_STD = 0.02


class Attention(nn.Module):
    """
    softmax(Q K^T / sqrt(d)) V for each head of d channels, in plain operators.

    Shape:
        (N, T, C) -> the same
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // _HEAD)
        while width % self.heads:
            self.heads -= 1
        self.inputs = TokenLinear(width, 3 * width)
        self.output = TokenLinear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply attention between the tokens of *x*."""
        n, tokens, width = x.shape
        each = (n, tokens, 3, self.heads, width // self.heads)
        q, k, v = self.inputs(x).reshape(each).permute(2, 0, 3, 1, 4).unbind(0)  # (N, heads, T, d)
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        seen = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, tokens, width)
        y: Tensor = self.output(seen)
        return y


class VisionTransformer(nn.Module):
    """
    Classify an image by its patches; pixels beyond the last whole patch are left out.

    Shape:
        (N, C, H, W) -> (N, K)
    """

    def __init__(self, net: NetSpec) -> None:
        super().__init__()
        width, side = net.width, net.side // PATCH
        self.patches = PatchConv(net.in_channels, width, PATCH, stride=PATCH)
        self.positions = nn.Parameter(torch.randn(1, side * side, width) * _POSITION_STD)
        self.blocks = nn.Sequential(*(_block(net) for _ in range(_DEPTH)))
        self.norm = PositionSite(net, width, channels_last=True)
        self.head = nn.Linear(width, net.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify *x*."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return logits


def _block(net: NetSpec) -> nn.Sequential:
    parts = (Attention(net.width), mlp(net.width))
    sites = (PositionSite(net, net.width, channels_last=True) for _ in parts)
    return nn.Sequential(*(Added(nn.Sequential(*both)) for both in zip(sites, parts)))
