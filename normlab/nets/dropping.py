"""Layers that leave out parts of a network at random in training."""

from __future__ import annotations

from typing import List

from torch import Tensor, nn

from normlab.nets.sites import MeanPool, NetSpec


class StochasticDepth(nn.Module):
    """
    Leave out a residual branch with *probability* for each sample, and scale up the others.

    y = b x / (1 - p), with b from Bernoulli(1 - p) for each sample; in evaluation y = x.

    Shape:
        (N, ...) -> the same

    Source:
        Huang et al., "Deep Networks with Stochastic Depth", arXiv:1603.09382. Theirs scales in
        evaluation instead.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Drop whole samples of *x*."""
        if not self.training:
            return x
        stays = 1 - self.probability
        kept = x.new_empty([len(x), *[1] * (x.dim() - 1)]).bernoulli_(stays)
        return x * (kept / stays)

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return f"{self.probability:g}"


class Depths:
    """
    Makes the stochastic depth of each residual branch; branch i, from 1, has i / blocks of the
    network's probability.

    Args:
        net: the network, with the probability of its last branch.
        blocks: the number of branches.
    """

    def __init__(self, net: NetSpec, blocks: int) -> None:
        self._most = net.stochastic_depth
        self._blocks = blocks
        self._made = 0

    def after(self, branch: List[nn.Module]) -> List[nn.Module]:
        """Return the layers of the next *branch*, with stochastic depth at its end."""
        self._made += 1
        if not self._most:
            return branch
        return [*branch, StochasticDepth(self._most * self._made / self._blocks)]


def head(net: NetSpec, channels: int) -> List[nn.Module]:
    """Return the layers from the last map to the logits."""
    dropout: List[nn.Module] = [nn.Dropout(net.dropout)] if net.dropout else []
    return [MeanPool(), *dropout, nn.Linear(channels, net.num_classes)]
