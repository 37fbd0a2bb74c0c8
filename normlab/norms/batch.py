"""Batch normalization: normalize each channel by its moments over the batch and positions."""

from __future__ import annotations

from typing import Any, Optional, Tuple, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from normlab.norms import capture, engine, engine_fused
from normlab.norms.engine import Solved
from normlab.norms.finite import read_finite
from normlab.norms.passes import positions
from normlab.norms.pooling import bessel, pool_batch, samples_sharing
from normlab.norms.running import BatchStatisticsNorm
from normlab.norms.solve_forms import Pool, make_form
from normlab.norms.typed_bases import Function
from normlab.specs.norms_over_batches import BatchNormSpec

_DEFAULTS = BatchNormSpec()


class BatchNorm(BatchStatisticsNorm):
    """
    Normalize each channel over the batch and its positions.

    y = weight * (x - M) / sqrt(V + eps) + bias, with M and V over (n, p). V is biased here but
    unbiased in running_var, as in torch. State dicts of torch's layers can be loaded.

    Args:
        num_features: C, the number of channels.
        eps: added to the variance.
        affine: learn weight and bias.
        dims: 1, 2 or 3 dimensions of positions.
        momentum: weight of the new value in the running statistics; None averages all values.
        virtual_batch_size: number of samples that share statistics (ghost batches); None is all.
        sync: whether all replicas of torch.distributed share the statistics.

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Raises:
        InvalidSpec: a channel has only one value in training.

    Source:
        Ioffe and Szegedy, "Batch Normalization", 2015, arXiv:1502.03167, algorithms 1 and 2.
    """

    on_engine = True

    def __init__(
        self,
        num_features: int,
        eps: float = _DEFAULTS.eps,
        affine: bool = _DEFAULTS.affine,
        dims: int = 2,
        momentum: Optional[float] = _DEFAULTS.momentum,
        virtual_batch_size: Optional[int] = _DEFAULTS.virtual_batch_size,
        sync: bool = _DEFAULTS.sync,
    ) -> None:
        super().__init__(num_features, eps, affine, dims, momentum, virtual_batch_size)
        BatchNormSpec.checked(num_features, sync=sync, virtual_batch_size=virtual_batch_size)
        self.sync = sync

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Normalize over the batch in training, by the running statistics in evaluation."""
        synced = self.sync and self.training and _replicas() > 1
        if not synced:
            self._check_statistics(x)
        if not self.training:
            return self.normalize_by(x, self.running_mean, self.running_var, weight, bias)
        size = self.virtual_batch_size
        whole = size is None or size >= x.shape[0]
        mean: Any = self._buffers["running_mean"]  # faster than the module's attribute
        alone = self.following is None
        if whole and alone and not synced and engine.is_native(x, self.plain, mean, weight, bias):
            # The kernel updates its running statistics even if they are not finite.
            if not self.plain and capture.is_readable(mean):
                return self._normalize_reading(x, weight, bias)
            return self._normalize_tracking(x, weight, bias)
        nodes = None if synced else engine_fused.nodes_for(x, self.plain, weight, bias)
        if nodes is not None:
            pool = [self.samples_merged(x.shape[0]), 1, 0]
            y, mean, var = nodes.mixed(x, weight, bias, pool, self.eps, unbiased=True)
            self.track(mean, var)
            return cast("Tensor", y)

        def solve(mean: Tensor, var: Tensor, weight: Any, bias: Any) -> Solved:
            if synced:
                m, v, unbiased = _pool_replicas(mean, var, x)
            else:
                m, v = pool_batch(mean, var, self.virtual_batch_size)
                unbiased = v * bessel(samples_sharing(mean, self.virtual_batch_size) * positions(x))
            scale = (v + self.eps).rsqrt()
            return Solved(*affine_after(scale, mean - m, weight, bias), (m, unbiased))

        merged = (Pool(self.samples_merged(x.shape[0]), 1, 0),)
        form = None if synced else make_form(self.eps, merged, tracked=0)
        affine, following = (weight, bias), self.following
        y, (mean, var) = engine.normalize(x, solve, affine, self.plain, form, following)
        self.track(mean, var)
        return y

    def _normalize_tracking(
        self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]
    ) -> Tensor:
        mean, var = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        y = F.batch_norm(x, mean, var, weight, bias, True, 1.0, self.eps)  # the batch's own
        self.track(mean, var)
        return y

    def _normalize_reading(
        self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]
    ) -> Tensor:
        buffers: Any = self._buffers
        mean, var = buffers["running_mean"], buffers["running_var"]
        count = buffers["num_batches_tracked"]
        before = torch.cat((mean, var))
        count.add_(1)
        step = 1.0 / float(count) if self.momentum is None else self.momentum
        y = torch.batch_norm(x, weight, bias, mean, var, True, step, self.eps, False)
        if not read_finite(mean, var):
            # through .data, because graphs of other forwards hold these two without using them
            mean.data.copy_(before[: self.num_features])
            var.data.copy_(before[self.num_features :])
            count.sub_(1)
            self.nonfinite_statistics.add_(1)
        return y


def affine_after(
    scale: Tensor, offset: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]
) -> Tuple[Tensor, Tensor]:
    """Return scale and shift of weight * scale * (x - mean + offset) + bias."""
    if weight is not None:
        scale = scale * weight
    if bias is None:
        return scale, scale * offset
    return scale, torch.addcmul(bias, scale, offset)


def _replicas() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _pool_replicas(mean: Tensor, var: Tensor, x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    # Two sums over the replicas, so that the variance is computed in its centred form.
    m, v = pool_batch(mean, var)
    count = mean.new_full((1, 1), float(x.shape[0] * positions(x)))
    sums = _SumOverReplicas.apply(torch.cat([m * count, count], 1))
    total = sums[:, -1:].detach()
    pooled = sums[:, :-1] / total
    squares = (v + (m - pooled).square()) * count
    pooled_var = _SumOverReplicas.apply(squares) / total
    return pooled, pooled_var, pooled_var * (total / (total - 1))


class _SumOverReplicas(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        total = g.clone()
        dist.all_reduce(total)
        return total
