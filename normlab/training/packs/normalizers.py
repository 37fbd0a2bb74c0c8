"""Normalizers over S * C channels with state or numbers for each member."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
from torch import Tensor

from normlab.norms import online_triton
from normlab.norms.batch_renorm import BatchRenorm
from normlab.norms.capture import Number
from normlab.norms.dynamic_tanh import DynamicTanh
from normlab.norms.filter_response import FilterResponseNorm
from normlab.norms.finite import Truth, count_if, count_unless, finiteness, keep
from normlab.norms.lp_batch import L1BatchNorm, LinfBatchNorm, TopkBatchNorm
from normlab.norms.online import OnlineNorm
from normlab.norms.running import BatchStatisticsNorm
from normlab.norms.weight_lengths import BoundedTotalWeightNorm, BoundedWeightNorm
from normlab.training.packs.per_member import to_channels


class MemberStatistics(BatchStatisticsNorm):
    """
    Running statistics of S members side by side, with a count of batches for each.

    Non-finite statistics of a member do not change that member's state; the others' state changes.
    """

    members: int

    def count_batch(self, mean: Tensor, spread: Tensor) -> Truth:
        """Count one more batch of each member; return which channels' statistics are finite."""
        finite = finite_members(mean, spread, self.members, self.plain)
        count_if(finite, self.num_batches_tracked)
        count_unless(finite, self.nonfinite_statistics)
        return _of_channels(finite, self.num_features)

    def weight_of_new(self) -> Any:
        """Return the weight of this batch: one number, or one for each channel from its member."""
        step = super().weight_of_new()
        return to_channels(step, self.num_features) if isinstance(step, Tensor) else step


class PackedBatchRenorm(MemberStatistics, BatchRenorm):
    """Batch renormalization of S members, which have made the same number of steps."""

    def _step(self) -> Number:
        if self.clipping == "constant":
            return super()._step()
        if self.clipping == "progress":
            return float(self.progress.max()) * self.progress_steps
        # a member has fewer only after an overflow, which ends its training
        return float(self.num_batches_tracked.max())


class PackedL1BatchNorm(MemberStatistics, L1BatchNorm):
    """L1 batch norm of S members."""


class PackedLinfBatchNorm(MemberStatistics, LinfBatchNorm):
    """L-infinity batch norm of S members."""


class PackedTopkBatchNorm(MemberStatistics, TopkBatchNorm):
    """Top-k batch norm of S members."""


class PackedOnlineNorm(OnlineNorm):
    """Online normalization of S members; the channels of one are scaled together."""

    members: int

    def move(self, mu: Tensor, var: Tensor) -> None:
        """Take the statistics of the members with finite ones."""
        state, skipped = (self.mu, self.var), self.nonfinite_statistics
        if online_triton.keep(state, (mu, var), skipped, self.members):
            return
        finite = finite_members(mu, var, self.members)
        channels = _of_channels(finite, self.num_features)
        keep(self.mu, mu, channels)
        keep(self.var, var, channels)
        count_unless(finite, self.nonfinite_statistics)

    def move_control(self, control: Tuple[Tensor, Tensor], u: Tensor, v: Tensor) -> None:
        """Take *u* and *v* of the members with finite ones."""
        if online_triton.keep(control, (u, v), members=self.members):
            return
        channels = _of_channels(finite_members(u, v, self.members), self.num_features)
        for state, new in zip(control, (u, v)):
            keep(state, new, channels)


class PackedDynamicTanh(DynamicTanh):
    """Dynamic tanh of S members, each with its slope."""

    def slope(self) -> Tensor:
        """Return the slope of each channel."""
        return to_channels(self.alpha, self.num_features)


class PackedFilterResponseNorm(FilterResponseNorm):
    """Filter response normalization of S members, each with its learned e."""

    def added(self) -> Optional[Tensor]:
        """Return e of each channel; None if it is not learned."""
        if self.learned_eps is None:
            return None
        return to_channels(self.learned_eps, self.num_features)


class PackedBoundedWeightNorm(BoundedWeightNorm):
    """Bounded weight normalization of S layers, each with its rho."""

    def length(self, norms: Tensor) -> Tensor:
        """Return rho of each output channel."""
        return to_channels(self.rho, norms.numel()).view_as(norms)


class PackedBoundedTotalWeightNorm(BoundedTotalWeightNorm):
    """Learned lengths of S layers, each with a constant total."""

    members: int

    def with_total(self, lengths: Tensor) -> Tensor:
        """Scale the lengths of each member to its G."""
        by_member = lengths.view(self.members, -1)
        totals: Tensor = self.total / by_member.norm(dim=1)
        return (by_member * totals.unsqueeze(1)).view_as(lengths)


def finite_members(first: Tensor, second: Tensor, members: int, plain: bool = False) -> Truth:
    """Return whether two statistics, (S * C,), are finite: true for all, or (S,)."""
    if not plain and finiteness(first, second) is True:
        return True
    return finite_by_member(first, second, members)


def finite_by_member(first: Tensor, second: Tensor, members: int) -> Tensor:
    """Return which members' statistics, both (S * C,), are finite, as (S,)."""
    both = torch.stack((first, second)).view(2, members, -1)
    # IPUs have no isfinite
    finite: Tensor = (both.abs() <= torch.finfo(both.dtype).max).all(2).all(0)
    return finite


def _of_channels(finite: Truth, channels: int) -> Truth:
    return to_channels(finite, channels) if isinstance(finite, Tensor) else finite
