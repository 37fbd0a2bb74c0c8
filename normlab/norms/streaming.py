"""Streaming normalization: short-term and long-term statistics and gradients of statistics."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
from torch import Tensor

from normlab.norms import capture, engine, engine_fused, streaming_kernels, streaming_registered
from normlab.norms.batch import affine_after
from normlab.norms.engine import Solved
from normlab.norms.finite import Truth, count_if, count_unless, finiteness, keep, read
from normlab.norms.once import differentiable_once
from normlab.norms.pooling import pool_batch
from normlab.norms.running import BatchStatisticsNorm
from normlab.norms.typed_bases import Function
from normlab.specs.norms_over_batches import StreamingNormSpec

_DEFAULTS = StreamingNormSpec()

_UNSEEN = torch.finfo(torch.float32).max  # a value that no weight has
_PRESENT = -1  # the current version of the weight


class StreamingNorm(BatchStatisticsNorm):
    """
    Normalize by a weighted sum of short-term and long-term estimates of the statistics.

    y = weight * (x - M) / sqrt(V + eps) + bias; M and V are forward_short * short +
    (1 - forward_short) * long. The short term is the mean over the batches since the last change
    of the weights, including the present one. When the weights change, the long term moves towards
    the short term by momentum. In the backward pass, the gradients of M and V are replaced by the
    same kind of sum of their own short and long terms, and flow only into the present batch. Until
    there is a long term, only the short one is used. Evaluation uses the long term, running_mean
    and running_var.

    The layer detects a change of the weights by the version of its own weight, or in a compiled
    graph by its values. Without an affine (or under a proxy activation), every forward after a
    backward counts as a change.

    Args:
        num_features: C, the number of channels.
        eps: added to the variance.
        affine: learn weight and bias.
        dims: 1, 2 or 3 dimensions of positions.
        momentum: weight of the short term in the long one's next value.
        forward_short: share of the short term in the statistics.
        backward_short: share of the short term in their gradients.
        virtual_batch_size: number of samples in a group; groups are used one after another, like
            batches between two changes of the weights. None is all.

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Raises:
        InvalidSpec: an option is out of range, or a channel has only one value in training.

    Source:
        Liao, Kawaguchi and Poggio, "Streaming Normalization", 2016, arXiv:1610.06160. We follow the
        paper's description, with its mean and L2 statistic; no published code was compared.
    """

    on_engine = True
    moved = ("short", "short_count", "running_mean", "running_var", "nonfinite_statistics")
    reads = ("short", "short_count", "running_mean", "running_var")
    begun = (
        "num_batches_tracked",
        "gradient_long",
        "gradient_short",
        "gradient_count",
        "seen_weight",
    )

    momentum: float
    short: Tensor
    short_count: Tensor
    gradient_long: Tensor
    gradient_short: Tensor
    gradient_count: Tensor
    seen_weight: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = _DEFAULTS.eps,
        affine: bool = _DEFAULTS.affine,
        dims: int = 2,
        momentum: float = _DEFAULTS.momentum,
        forward_short: float = _DEFAULTS.forward_short,
        backward_short: float = _DEFAULTS.backward_short,
        virtual_batch_size: Optional[int] = _DEFAULTS.virtual_batch_size,
    ) -> None:
        super().__init__(num_features, eps, affine, dims, momentum, virtual_batch_size)
        StreamingNormSpec.checked(
            num_features,
            momentum=momentum,
            forward_short=forward_short,
            backward_short=backward_short,
        )
        self.forward_short = forward_short
        self.backward_short = backward_short
        for name in ("short", "gradient_long", "gradient_short"):
            self.register_buffer(name, torch.zeros(2, num_features))  # of mean and variance
        for name in ("short_count", "gradient_count"):
            self.register_buffer(name, torch.tensor(0, dtype=torch.long))
        self._seen_version: Optional[int] = None
        self.register_buffer("seen_weight", torch.full((num_features,), _UNSEEN), persistent=False)

    def begin(self, x: Tensor) -> None:
        """End the short term if the weights have changed since the last forward."""
        self._check_statistics(x)
        kernels = streaming_kernels.kernels_for(self, x)
        if kernels is None:
            self._close_short_term(self._weights_changed())
        elif self.weight is None or self._weights_changed():
            streaming_kernels.close_short_term(kernels, self)

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Normalize by the streamed statistics in training, the long-term ones in evaluation."""
        if not self.training:
            return self.normalize_by(x, self.running_mean, self.running_var, weight, bias)
        size = self.samples_merged(x.shape[0])
        if size == x.shape[0]:
            return self._by_batch(x, weight, bias)
        parts = [self._by_batch(part, weight, bias) for part in torch.split(x, size)]
        return torch.cat(parts)

    def _by_batch(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        nodes = engine_fused.nodes_for(x, self.plain, weight, bias, self.short)
        if nodes is not None:
            return self._normalize_fused(x, weight, bias, nodes)
        by_kernels = streaming_kernels.normalize(self, x, weight, bias)
        if by_kernels is not None:
            return by_kernels
        short, long = self.short.clone(), torch.stack([self.running_mean, self.running_var])
        count = self.short_count.to(short.dtype)  # a new tensor, because the buffer changes later
        share = self._share(self.forward_short)

        def solve(mean: Tensor, var: Tensor, weight: Any, bias: Any) -> Solved:
            now = torch.stack([part[0] for part in pool_batch(mean, var)])
            recent = (short.to(now) * count + now) / (count + 1)
            used = share * recent + (1 - share) * long.to(now)
            m, v = _stream(now, used.detach(), self)
            scale = (v + self.eps).rsqrt()
            return Solved(*affine_after(scale, mean - m, weight, bias), (recent,))

        affine, following = (weight, bias), self.following
        y, (recent,) = engine.normalize(x, solve, affine, self.plain, following=following)
        self._take(recent)
        return y

    def _normalize_fused(
        self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor], nodes: Any
    ) -> Tensor:
        count, share = int(self.short_count), float(self._share(self.forward_short))
        gain = share / (count + 1)
        base = self.short * (gain * count)
        if share < 1:
            base += torch.stack([self.running_mean, self.running_var]).mul_(1 - share)
        *state, backward_short = self.gradient_state()
        pool = [x.shape[0], 1, 0]
        y: Tensor
        y, mean, var = nodes.streamed(
            x, weight, bias, pool, self.eps, base, gain, state, backward_short
        )
        self._take((self.short * count).add_(torch.stack([mean, var])).div_(count + 1))
        return y

    @torch.no_grad()
    def _take(self, recent: Tensor) -> None:
        finite = finiteness(recent[0], recent[1])
        keep(self.short, recent, finite)
        count_if(finite, self.short_count)
        count_unless(finite, self.nonfinite_statistics)

    def _share(self, of_short: float) -> Any:
        """Return the share of the short term, which is 1 until there is a long term."""
        return streaming_registered.share_of_short(self.num_batches_tracked, of_short, self.short)

    def __getstate__(self) -> Any:
        # A copy's weight counts versions from 0, so a copy keeps only whether a change is pending.
        unchanged = self.weight is not None and self.weight._version == self._seen_version
        return {**self.__dict__, "_seen_version": _PRESENT if unchanged else None}

    def gradient_state(self) -> Tuple[Tensor, Tensor, Tensor, Tensor, float]:
        """Return the state with which backward streams the gradient of the statistics."""
        return (
            self.gradient_short,
            self.gradient_long,
            self.gradient_count,
            self.num_batches_tracked,
            self.backward_short,
        )

    @torch.no_grad()
    def _weights_changed(self) -> Truth:
        if self.weight is None:
            return read(self.gradient_count > 0)
        if capture.is_on(self.weight):  # it sees values but no versions
            weight = self.weight.to(self.seen_weight)
            differs = (weight != self.seen_weight).any()
            self.seen_weight.copy_(weight)
            return differs
        version = int(self.weight._version)
        changed = self._seen_version not in (version, _PRESENT)
        self._seen_version = version
        return changed

    @torch.no_grad()
    def _close_short_term(self, changed: Truth) -> None:
        if changed is False:
            return
        closing = read(changed & (self.short_count > 0))
        step = self._share(self.momentum)  # at first, the long term is set to the short one
        new = {
            "running_mean": self.short[0],
            "running_var": self.short[1],
            "gradient_long": self.gradient_short,
        }
        self.move(new, step, closing)
        count_if(closing, self.num_batches_tracked)
        for buffer in (self.short, self.short_count, self.gradient_short, self.gradient_count):
            if changed is True:
                buffer.zero_()
            else:
                keep(buffer, torch.zeros_like(buffer), changed)


def _stream(now: Tensor, used: Tensor, layer: StreamingNorm) -> Tuple[Tensor, Tensor]:
    if capture.is_on(now):
        streamed = streaming_registered.stream(layer, now, used)
    else:
        streamed = _Streamed.apply(now, used, layer)
    return streamed[0], streamed[1]


class _Streamed(Function):
    # Its value is *used*; its streamed gradient goes to the statistics of the present batch.
    @staticmethod
    def forward(ctx: Any, now: Tensor, used: Tensor, layer: StreamingNorm) -> Tensor:
        ctx.state = layer.gradient_state()  # the state of this forward, also in a functional call
        ctx.save_for_backward(used)
        return used.clone()

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, g: Tensor) -> Tuple[Any, ...]:
        (used,) = ctx.saved_tensors
        return streaming_registered.take_in(g, used, *ctx.state), None, None
