"""The parameters of networks, and the places for normalizers in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from torch import Tensor, nn

from normlab import norms
from normlab.norms.token_norm import TokenNorm
from normlab.specs.norm_base import NormSpec


@dataclass(frozen=True)
class NetSpec:
    """The parameters of every network."""

    normalizer: NormSpec
    in_channels: int
    num_classes: int
    width: int  # channels of the first stage
    side: int  # side of the images, or time steps of the sequences
    task: str = "classification"
    data_root: Optional[Path] = None  # the operator's folder of files, if this process may read it
    dropout: float = 0.0  # probability for the inputs of the last layer
    stochastic_depth: float = 0.0  # probability that the last residual branch is left out


class Site(nn.Module):
    """
    A place for a normalizer, with or without ReLU after it; `layer` is the normalizer.

    Args:
        net: the network with its normalizer.
        channels: C.
        activation: whether ReLU follows; False at the end of a residual branch.
        dims: dimensions of positions, as in `norms.make`.
    """

    def __init__(self, net: NetSpec, channels: int, activation: bool = True, dims: int = 2) -> None:
        super().__init__()
        self.channels = channels
        self.layer = norms.make(net.normalizer, channels, "relu" if activation else None, dims)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize *x* (N, C, positions...)."""
        y: Tensor = self.layer(x)
        return y


def conv3x3(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution without bias that keeps or halves the side."""
    return nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)


def conv1x1(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    """Return a 1x1 convolution without bias."""
    return nn.Conv2d(c_in, c_out, 1, stride=stride, bias=False)


class PositionSite(Site):
    """
    A place for a normalizer in a net whose layers treat each position alone; no activation follows.

    Kinds that stay within a token normalize the channels of each position separately, as layer norm
    does in transformers. All others take the positions of a sample together, as in a convolution.

    Args:
        channels_last: whether the channels are the last dimension; otherwise they are the second.
    """

    def __init__(self, net: NetSpec, channels: int, channels_last: bool) -> None:
        super().__init__(net, channels, activation=False, dims=1)
        alone = net.normalizer.within_token
        self.layer = TokenNorm(self.layer, channels, alone, channels_last)


class PositionLinear(nn.Linear):
    """The same linear layer at each position: (N, C, positions...) -> (N, K, positions...)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map the channels of *x*."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class MeanPool(nn.Module):
    """Average over all positions: (N, C, H, W) -> (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Average *x*."""
        return x.mean(dim=(2, 3))
