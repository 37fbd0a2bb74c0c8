"""Batch norm of S members, with a form for activations that do not fit into a core's cache."""

from __future__ import annotations

from typing import Any, List, Optional, cast

import torch
from torch import Tensor

from normlab.norms import NormActivation, capture, engine
from normlab.norms.batch import BatchNorm
from normlab.norms.finite import read_finite
from normlab.norms.following import Following, is_changed
from normlab.norms.once import gradients_again
from normlab.norms.passes import moments
from normlab.norms.pooling import bessel, pool_batch
from normlab.norms.typed_bases import Function
from normlab.training.packs.normalizers import MemberStatistics, finite_by_member
from normlab.training.packs.per_member import to_channels

MANY = 1 << 17
"""The least number of values for statistics over rows; with fewer, their own calls cost more."""

_RELU = Following("relu")


class PackedBatchNorm(MemberStatistics, BatchNorm):
    """
    Batch normalization of S members.

    torch's kernel reads its input twice for the statistics, value by value. With `MANY` values or
    more, moments of rows are faster: mean and variance over the batch are those of the moments of
    each sample. The result is the same up to rounding, and may include the ReLU that follows.
    """

    on_engine = True

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Normalize over the batch in training, by the running statistics in evaluation."""
        rectified = self.following is _RELU
        if not self.has_many(x) or not (rectified or self.following is None):
            return super().normalize(x, weight, bias)
        kept: List[Tensor] = []
        y = _ByRows.apply(x, weight, bias, self.eps, rectified, kept)
        mean, var = kept
        unbiased = var * bessel(x.numel() // self.num_features)
        if isinstance(self.momentum, float) and read_finite(mean, unbiased):
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        else:
            self.track(mean, unbiased)
        return cast("Tensor", y)

    def has_many(self, x: Tensor) -> bool:
        """Return whether *x* is a training batch on a CPU for which rows are faster."""
        if not self.training or x.numel() < max(MANY, 2 * x.shape[1]) or not x.is_contiguous():
            return False
        whole = self.virtual_batch_size is None or self.virtual_batch_size >= x.shape[0]
        shared = whole and not self.sync and not self.plain and x.dim() > 2
        own = (self.running_mean, self.weight, self.bias)
        return shared and capture.is_readable(x) and engine.is_native(x, False, *own)

    def _normalize_reading(
        self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]
    ) -> Tensor:
        if not isinstance(self.momentum, (int, float)):  # the kernel takes one number for all
            return self._normalize_tracking(x, weight, bias)
        mean, var = self.running_mean, self.running_var
        before = torch.stack((mean, var))
        y = torch.batch_norm(x, weight, bias, mean, var, True, self.momentum, self.eps, False)
        self.num_batches_tracked.add_(1)
        if not read_finite(mean, var):
            self._put_back(before)
        return y

    @torch.no_grad()
    def _put_back(self, before: Tensor) -> None:
        finite = finite_by_member(self.running_mean, self.running_var, self.members)
        channels = to_channels(finite, self.num_features)
        # through .data, because graphs of other forwards hold these two without using them
        for running, old in zip((self.running_mean, self.running_var), before):
            running.data.copy_(torch.where(channels, running, old))
        lost = ~finite
        self.num_batches_tracked.sub_(lost.to(self.num_batches_tracked.dtype))
        self.nonfinite_statistics.add_(lost.to(self.nonfinite_statistics.dtype))


class PackedNormActivation(NormActivation):
    """A norm of S members with the activation after it, which batch norm may include."""

    members: int

    def forward(self, x: Tensor) -> Tensor:
        """Normalize *x*, then activate it."""
        norm = self.norm
        if self.activation != "relu" or not isinstance(norm, PackedBatchNorm):
            return super().forward(x)
        if not norm.has_many(x) or is_changed(norm):
            return super().forward(x)
        return norm.followed(x, norm.weight, norm.bias, _RELU)


class _ByRows(Function):
    """Batch norm whose statistics, which it leaves in *kept*, are merged moments of samples."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Optional[Tensor],
        bias: Optional[Tensor],
        eps: float,
        rectified: bool,
        kept: List[Tensor],
    ) -> Tensor:
        mean, var = (t.view(-1) for t in pool_batch(*moments(x)))
        y = torch.native_batch_norm(x, weight, bias, mean, var, False, 0.0, eps)[0]
        if rectified:
            y.relu_()
        kept.extend((mean, var))
        ctx.eps, ctx.rectified = eps, rectified
        ctx.save_for_backward(x, weight, bias, mean, (var + eps).rsqrt_(), y if rectified else None)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight, bias, mean, inverse, y = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again

            def again(x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> List[Tensor]:
                y = torch.batch_norm(x, weight, bias, None, None, True, 0.0, ctx.eps, False)
                return [y.relu() if ctx.rectified else y]

            found = gradients_again(again, (x, weight, bias), [g], ctx.needs_input_grad[:3])
            return (*found, None, None, None)
        if y is not None:
            g = torch.ops.aten.threshold_backward(g, y, 0)
        found = torch.ops.aten.native_batch_norm_backward(
            g, x, weight, None, None, mean, inverse, True, ctx.eps, ctx.needs_input_grad[:3]
        )
        return (*found, None, None, None)
