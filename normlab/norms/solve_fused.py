"""Solve steps in a few launches of Triton kernels, forward and backward; see `solve_forms`."""

from __future__ import annotations

from typing import Any, Callable, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from normlab.norms import engine_triton
from normlab.norms.once import differentiable_once, gradients_again
from normlab.norms.solve_forms import Form
from normlab.norms.typed_bases import Function


class Cancelled:
    """
    A gradient of the shift for which the gradient of the mean can be left out.

    With y = scale * (x - mean) + shift and shift = scale * mean + ..., the two gradients of the
    mean cancel. So the map leaves out its own, and leaves its gradient of the shift here.
    """

    of_shift: Optional[Tensor] = None


class How(NamedTuple):
    """
    How to solve.

    Args:
        form: for the kernels.
        solve: the definition, for second derivatives.
        positions: the number of positions.
        cancelled: where the map that uses the result leaves what it leaves out.
    """

    form: Form
    solve: Callable[..., Any]
    positions: int
    cancelled: Optional[Cancelled] = None


def solved(
    how: How, mean: Tensor, var: Tensor, *tensors: Optional[Tensor]
) -> Tuple[Tensor, Tensor, Tuple[Tensor, ...]]:
    """
    Return scale and shift, (N, C), and the statistics of the form.

    Args:
        mean: of each channel of each sample, (N, C), like the variance.
        tensors: weight and bias, and the step's own: two sets of logits, gates, or the added eps.
    """
    kept: List[Any] = []
    scale, shift = _Solve.apply(how, kept, mean, var, *tensors)
    return scale, shift, how.form.statistics(kept[0], *mean.shape)


class _Solve(Function):
    @staticmethod
    def forward(ctx: Any, how: How, kept: List[Any], *given: Any) -> Tuple[Tensor, Tensor]:
        form = how.form
        mean, var, weight, bias, *own = given
        kernels = engine_triton.kernels_for(mean)
        moments = (mean.contiguous(), var.contiguous())
        steps, merged = kernels.gated(*moments, own[0]) if form.gated else (None, None)
        inner = moments if steps is None else steps[-1].unbind()
        now = [] if steps is None else [steps[-1].view(2, -1)]
        if form.is_pooled():
            now = kernels.pooled(form.without_given(), *inner, how.positions, merged)
        if form.given is not None:
            now = [*now, form.given]
        used = now if form.stream is None else [form.stream.used(kernels, now[0])]
        ratios = None if form.ratios is None else form.ratios(kernels, *own)
        f = kernels.solve(form, moments, used, ratios, weight, bias, own[0] if form.adds else None)
        kept.append(now)
        ctx.kernels, ctx.how, ctx.sizes = kernels, how, (len(given), len(now))
        ctx.save_for_backward(*given, *now, *used, f.solved, f.ratios, f.jacobians, steps)
        return f.solved[0], f.solved[1]

    @staticmethod
    def backward(ctx: Any, s1: Tensor, s0: Tensor) -> Any:
        if not torch.is_grad_enabled():
            return _gradients(ctx, s1, s0)
        if ctx.how.form.stream is not None:
            return differentiable_once(_gradients)(ctx, s1, s0)
        given = ctx.saved_tensors[: ctx.sizes[0]]

        def solved(*given: Any) -> Tuple[Tensor, ...]:
            return tuple(t.expand_as(given[0]) for t in ctx.how.solve(*given)[:2])

        return (None, None, *gradients_again(solved, given, (s1, s0), ctx.needs_input_grad[2:]))


def _gradients(ctx: Any, s1: Tensor, s0: Tensor) -> Tuple[Any, ...]:
    kernels, form, (count, pools) = ctx.kernels, ctx.how.form, ctx.sizes
    every = ctx.saved_tensors  # once, because a checkpoint unpacks each tensor once
    given, saved = every[:count], every[count:]
    now, used, (solved, ratios, jacobians, steps) = saved[:pools], saved[pools:-4], saved[-4:]
    mean, var, _, _, *own = given
    f = kernels.Solving(mean.contiguous(), var.contiguous(), list(used), solved, ratios, jacobians)
    s0, s1 = s0.contiguous(), s1.contiguous()
    sums = kernels.pool_sums(form, f, s0, s1)
    of_channels = kernels.channel_sums(form, f, s0, s1, own[0] if form.adds else None)
    of_own: List[Any] = [None] * len(own)
    if form.is_mixed():
        of_logits = kernels.ratio_slopes(form, f, sums, of_channels)
        of_own = [g if learns else None for g, learns in zip(of_logits, form.learns)]
    if form.adds:
        each = of_channels[2]
        of_own[0] = each if own[0].numel() > 1 else each.sum().view_as(own[0])
    if form.given is not None:
        sums[-1].zero_()
    if form.stream is not None and ctx.needs_input_grad[2]:
        sums, f = [form.stream.streamed(kernels, sums[0], used[0])], f._replace(pools=list(now))
    if not form.gated:
        moments = kernels.moment_slopes(form, f, s0, s1, sums, ctx.how.positions)
    else:
        if form.is_pooled():
            merged = f._replace(mean=steps[-1, 0])
            g = kernels.moment_slopes(form, merged, s0, s1, sums, ctx.how.positions)
        else:
            g = sums[0].view(2, *mean.shape)
        moments, of_own[0] = kernels.gated_slopes(steps, own[0], g)
    _add_what_is_not_cancelled(ctx.how.cancelled, moments[0], solved[0], s0)
    grads = (*moments, of_channels[0], of_channels[1], *of_own)
    needed = ctx.needs_input_grad[2:]
    return (None, None, *(g if need else None for g, need in zip(grads, needed)))


def _add_what_is_not_cancelled(
    cancelled: Optional[Cancelled], of_mean: Tensor, scale: Tensor, s0: Tensor
) -> None:
    left = None if cancelled is None else cancelled.of_shift
    if cancelled is not None:
        cancelled.of_shift = None
    if left is not None and left.data_ptr() == s0.data_ptr():
        return
    # a second derivative, or one value for each channel of a sample
    of_mean.addcmul_(scale, s0 if left is None else s0 - left)
