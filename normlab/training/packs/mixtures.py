"""The packed forms of kinds that share statistics over channels by learned numbers."""

from __future__ import annotations

from typing import Any, Tuple

from torch import Tensor

from normlab.norms.meta import MetaNorm, Moments, straight_through
from normlab.norms.pooling import pool
from normlab.norms.switchable import SwitchableNorm
from normlab.training.packs.normalizers import MemberStatistics
from normlab.training.packs.per_member import by_member, repeated, to_channels


class PackedSwitchableNorm(MemberStatistics, SwitchableNorm):
    """Switchable normalization of S members, each with its ratios."""

    has_node = False  # the compiled one has the same ratios for all channels

    def ratios(self, mean_weight: Tensor, var_weight: Tensor) -> Tuple[Tensor, Tensor]:
        """Return the weights of the choices in the mean and in the variance: (K, S * C) each."""
        return self._of_channels(mean_weight), self._of_channels(var_weight)

    def _of_channels(self, logits: Tensor) -> Tensor:
        by_choice = by_member(logits, self.members).softmax(1).t()  # (K, S)
        return repeated(by_choice, self.num_features // self.members)

    def _layer_moments(self, mean: Tensor, var: Tensor, d: int) -> Moments:
        pooled = pool(by_member(mean, self.members, 1), by_member(var, self.members, 1), 2)
        wide = (mean.shape[0], self.members, self.num_features // self.members)
        m, v = (moment.expand(wide).reshape(mean.shape) for moment in pooled)
        return self._unbias((m, v), wide[2] * d)


class PackedMetaNorm(MemberStatistics, MetaNorm):
    """Meta normalization of S members, each with its gates."""

    has_node = False  # the compiled one has the same gates for all channels

    def _pool_channels(self, mean: Tensor, var: Tensor, gates: Any) -> Tuple[Moments, Any]:
        if gates is None:  # groups within the width of a member
            return super()._pool_channels(mean, var, gates)
        g = by_member(straight_through(gates), self.members)  # (S, K)
        sizes = (1 + g.detach()).prod(1)
        return _pool_by_gates(g, mean, var), to_channels(sizes, self.num_features)

    def _pool_samples(self, own: Moments, gate: Any, running: Any) -> Any:
        of_channels = None if gate is None else to_channels(gate, self.num_features)
        return super()._pool_samples(own, of_channels, running)


def _pool_by_gates(gates: Tensor, mean: Tensor, var: Tensor) -> Moments:
    """
    Merge channels of each member by its gates, as `meta._pool_by_gates` does for one.

    Shape:
        (S, K), (N, S * C) twice -> (N, S * C) twice, C = 2^K
    """
    (n, c), members = mean.shape, len(gates)
    for k, s in enumerate((gates / (1 + gates)).unbind(1)):
        halves = (n, members, 2**k, 2, c // members >> (k + 1))
        s = s.view(-1, 1, 1, 1)
        m, v = mean.view(halves), var.view(halves)
        apart = m.flip(3) - m
        var = (v + s * (v.flip(3) - v) + (s * (1 - s)) * (apart * apart)).view(n, c)
        mean = (m + s * apart).view(n, c)
    return mean, var
