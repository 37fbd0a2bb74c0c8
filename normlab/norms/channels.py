"""Operators with one number per channel: a lower limit, and a scale with a shift."""

from __future__ import annotations

from typing import Any, Tuple

import torch
from torch import Tensor

from normlab.norms import deviations
from normlab.norms.typed_bases import Function


def clamp_channels(y: Tensor, floor: Tensor, plain: bool = False) -> Tensor:
    """Return max(y, floor), with one *floor* for each channel."""
    if plain:
        rows = by_channel(floor, y).to(y.dtype)
        return torch.where(y <= rows, rows, y)  # a NaN is kept
    z: Tensor = _ClampChannels.apply(y, floor)
    return z


class _ClampChannels(Function):
    # The input is kept for backward, because the next operator may change the output in place.
    @staticmethod
    def forward(ctx: Any, y: Tensor, floor: Tensor) -> Tensor:
        z = torch.maximum(y, by_channel(floor, y).to(y.dtype))
        ctx.save_for_backward(y, floor)
        return z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        y, floor = ctx.saved_tensors
        if torch.is_grad_enabled() or not (g.is_contiguous() and y.is_contiguous()):
            above = y - by_channel(floor, y).to(y.dtype)  # a mask by comparing is much slower
            kept = torch.ops.aten.threshold_backward(g, above, 0.0)
            return kept, _channel_sum(g, floor.dtype) - _channel_sum(kept, floor.dtype)
        return _clamp_gradients(g, y, floor)


def _clamp_gradients(g: Tensor, y: Tensor, floor: Tensor) -> Tuple[Tensor, Tensor]:
    """Compute both gradients of `clamp_channels`, for as many samples as fit the cache."""
    rows, kept = by_channel(floor, y).to(y.dtype), torch.empty_like(y)
    lost = floor.new_zeros(y.shape[1])
    for part in deviations.slices(y, 0):
        to, given = kept[part], g[part]
        torch.sub(y[part], rows, out=to)
        torch.ops.aten.threshold_backward.grad_input(given, to, 0.0, grad_input=to)
        lost += _channel_sum(given, floor.dtype) - _channel_sum(to, floor.dtype)
    return kept, lost


def scale_channels(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return scale * x + shift with one *scale* and *shift* for each channel."""
    if x.dtype != scale.dtype:
        return (x * by_channel(scale, x) + by_channel(shift, x)).to(x.dtype)
    zero, one = torch.zeros_like(scale), torch.ones_like(scale)
    return torch.batch_norm(x, scale, shift, zero, one, False, 0.0, 0.0, False)


def _channel_sum(g: Tensor, dtype: torch.dtype) -> Tensor:
    if g.is_contiguous() and g.dim() > 2:  # the long sum is over adjacent memory
        return g.view(*g.shape[:2], -1).sum(2, dtype=dtype).sum(0)
    return g.sum([d for d in range(g.dim()) if d != 1], dtype=dtype)


def by_channel(per_channel: Tensor, x: Tensor) -> Tensor:
    """Return *per_channel*, (C,), as (C, 1, ...), which broadcasts against *x*."""
    return per_channel.view(-1, *[1] * (x.dim() - 2))
