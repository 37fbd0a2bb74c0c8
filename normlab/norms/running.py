"""Running statistics of batch-dependent normalizers, under torch's buffer names."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import torch
from torch import Tensor

from normlab.errors import InvalidSpec
from normlab.norms import engine_triton
from normlab.norms.activation_norm import ActivationNorm
from normlab.norms.finite import Truth, are_finite, count_if, count_unless, finiteness
from normlab.norms.passes import positions, statistics_dtype
from normlab.norms.pooling import smallest_group
from normlab.specs.norm_base import BatchStatisticsSpec

_DEFAULTS = BatchStatisticsSpec()


class BatchStatisticsNorm(ActivationNorm):
    """
    A normalizer that uses batch statistics in training and running statistics in evaluation.

    Each training forward sets running = (1 - momentum) * running + momentum * new. With virtual
    batches, new is the mean of the groups' statistics over the samples, so that a momentum means
    the same for any size of the groups.

    Non-finite statistics (from an overflow, which a gradient scaler skips) change nothing.
    `num_batches_tracked` counts the batches that are in the running statistics, and
    `nonfinite_statistics` those that are not. The latter is not in state dicts, so that state dicts
    of torch's layers fit.

    Args:
        num_features: C, the number of channels.
        eps: added to the variance.
        affine: learn weight and bias.
        dims: 1, 2 or 3 dimensions of positions.
        momentum: weight of the new value; None averages all batches since the start.
        virtual_batch_size: number of samples that share statistics; None is the whole batch.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    nonfinite_statistics: Tensor

    moved: Tuple[str, ...] = (
        "running_mean",
        "running_var",
        "num_batches_tracked",
        "nonfinite_statistics",
    )

    def __init__(
        self,
        num_features: int,
        eps: float = _DEFAULTS.eps,
        affine: bool = _DEFAULTS.affine,
        dims: int = 2,
        momentum: Optional[float] = _DEFAULTS.momentum,
        virtual_batch_size: Optional[int] = _DEFAULTS.virtual_batch_size,
    ) -> None:
        super().__init__(num_features, eps, affine, dims)
        BatchStatisticsSpec.checked(
            num_features, momentum=momentum, virtual_batch_size=virtual_batch_size
        )
        self.momentum = momentum
        self.virtual_batch_size = virtual_batch_size
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long))
        # a float, because an IPU program holds integers as constants
        self.register_buffer("nonfinite_statistics", torch.tensor(0.0), persistent=False)

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        text = f"{super().extra_repr()}, momentum={self.momentum}"
        if self.virtual_batch_size is not None:
            text += f", virtual_batch_size={self.virtual_batch_size}"
        return text

    def weight_of_new(self) -> Any:
        """Return the weight of this batch in the running statistics; call after `count_batch`."""
        if self.momentum is not None:
            return self.momentum
        return self.num_batches_tracked.to(self.running_mean.dtype).clamp_min(1).reciprocal()

    def count_batch(self, mean: Tensor, spread: Tensor) -> Truth:
        """Count one more training batch; return whether its statistics are finite."""
        finite = are_finite(mean, spread) if self.plain else finiteness(mean, spread)
        count_if(finite, self.num_batches_tracked)
        count_unless(finite, self.nonfinite_statistics)
        return finite

    @torch.no_grad()
    def track(self, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics towards *mean* and *var*, each (C,) or (N or 1, C)."""
        if self.track_by_kernels(mean, var, self.running_var):
            return
        mean, var = per_channel(mean), per_channel(var)
        finite = self.count_batch(mean, var)
        step = self.weight_of_new()
        self.move({"running_mean": mean, "running_var": var}, step, finite)

    def track_by_kernels(
        self, mean: Tensor, spread: Tensor, running: Tensor, unused: Any = None
    ) -> bool:
        """Do the same in Triton kernels, if they are loaded and support it; return whether."""
        by_one_count = type(self).count_batch is BatchStatisticsNorm.count_batch
        kernels = engine_triton.kernels_for(mean) if by_one_count and not self.plain else None
        mine = (mean, spread, self.running_mean, running)
        if kernels is None or any(t.dtype != torch.float32 for t in mine):
            return False
        rows = [t.reshape(-1, self.num_features).contiguous() for t in mine[:2]]
        step = None if self.momentum is None else self.weight_of_new()
        counts = (self.num_batches_tracked, self.nonfinite_statistics)
        kernels.track(rows, (self.running_mean, running), *counts, step, unused)
        return True

    def given_to_kernels(self, x: Tensor) -> Optional[Tensor]:
        """Return running mean and variance, (2, C), for the Triton kernels if they are loaded."""
        if self.plain or x.dtype == torch.float64 or engine_triton.kernels_for(x) is None:
            return None
        return torch.stack([self.running_mean, self.running_var]).to(torch.float32)

    def running_moments(self, form: Any) -> Optional[Tuple[Tensor, Tensor]]:
        """Return running mean and variance, those of *form* for kernels; None in training."""
        if self.training:
            return None
        given = None if form is None else form.given
        return (self.running_mean, self.running_var) if given is None else (given[0], given[1])

    def move(self, new: Dict[str, Tensor], step: Any, finite: Truth) -> None:
        """Move each buffer by the share *step* of the way to its new value, if it is *finite*."""
        if finite is False:
            return
        for name, value in new.items():
            running: Tensor = getattr(self, name)
            if finite is True:
                running.lerp_(value.to(running.dtype), step)
                continue
            moved = running * (1 - step) + value.to(running.dtype) * step  # IPUs have no lerp_
            running.copy_(torch.where(finite, moved, running))  # IPUs keep in-place changes only

    def normalize_by(
        self,
        x: Tensor,
        mean: Tensor,
        var: Tensor,
        weight: Optional[Tensor],
        bias: Optional[Tensor],
        eps: Optional[float] = None,
    ) -> Tensor:
        """Normalize *x* by given statistics of each channel; if *eps* is None, use the layer's."""
        dtype = statistics_dtype(x)
        weight = None if weight is None else weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
        eps = self.eps if eps is None else eps
        mean, var = mean.to(dtype), var.to(dtype)
        # some versions of torch.nn.functional refuse an eps of 0
        y = torch.batch_norm(x.to(dtype), weight, bias, mean, var, False, 0.0, eps, False)
        return y.to(x.dtype)

    def samples_merged(self, samples: int) -> int:
        """Return how many of a batch's *samples* share statistics; a smaller rest is ignored."""
        return min(samples, self.virtual_batch_size or samples)

    def _check_statistics(self, x: Tensor) -> None:
        if self.virtual_batch_size is None and x.numel() > x.shape[1]:
            return  # the usual case comes first, because every forward checks
        samples = smallest_group(x.shape[0], self.virtual_batch_size)
        if self.training and samples * positions(x) == 1:
            group = "the batch" if self.virtual_batch_size is None else "a virtual batch"
            raise InvalidSpec(
                f"{type(self).__name__} trains on shape {tuple(x.shape)}, where {group} has one "
                "value for each channel, and a variance needs two: use a larger batch (drop a "
                "last batch of one sample), or a kind without batch statistics such as 'group'"
            )


def per_channel(statistic: Tensor) -> Tensor:
    """Return the mean of *statistic*, which is (C,), (1, C) or (N, C), over its samples."""
    return statistic if statistic.dim() == 1 else statistic.mean(0)
