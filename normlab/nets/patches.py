"""The parts of nets of patches: layers of each position, and what a branch is added to."""

from __future__ import annotations

from torch import Tensor, nn

HIDDEN = 4  # times as wide as the net is the hidden layer of its blocks


class PatchConv(nn.Conv2d):
    """A convolution that no ReLU follows; `initialize` keeps the size of what passes it."""


class TokenLinear(nn.Linear):
    """The same linear layer at each position, channels last; `initialize` draws it by Xavier's."""


class Added(nn.Module):
    """
    x + branch(x), with nothing after it.

    What a recipe does to branches, such as leaving some out in training, belongs here.
    """

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to *x*."""
        y: Tensor = x + self.branch(x)
        return y


class ChannelsLast(nn.Module):
    """(N, C, H, W) -> (N, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Move the channels of *x*."""
        return x.permute(0, 2, 3, 1)


class ChannelsFirst(nn.Module):
    """(N, H, W, C) -> (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Move the channels of *x*."""
        return x.permute(0, 3, 1, 2)


def mlp(width: int) -> nn.Sequential:
    """Return linear, GELU, linear; the hidden layer is wider."""
    return nn.Sequential(
        TokenLinear(width, HIDDEN * width), nn.GELU(), TokenLinear(HIDDEN * width, width)
    )
