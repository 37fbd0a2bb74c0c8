"""The parts of nets of patches: layers for each position, and residual branches."""

from __future__ import annotations

from torch import Tensor, nn

HIDDEN = 4  # width of the blocks' hidden layer, relative to the net's width


class PatchConv(nn.Conv2d):
    """A convolution without ReLU after it; its initialization keeps the variance of its input."""


class TokenLinear(nn.Linear):
    """The same linear layer at each position, channels last, with Xavier's initialization."""


class Added(nn.Module):
    """
    x + branch(x), with nothing after it.

    Changes of branches by a recipe, such as leaving some out in training, belong here.
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
