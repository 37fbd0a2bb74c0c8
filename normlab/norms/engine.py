"""The engine: from moments to a scale and a shift, and back, in the fewest passes over the data.

Nearly every activation normalizer is an affine map for each (sample, channel):

    y = scale * (x - mean) + shift

where scale and shift are a small differentiable function, *solve*, of the moments and the
parameters, all of shape (N, C). Backward needs only two sums over the positions,
s0 = sum(g) and s1 = sum(g * (x - mean)): they are the gradients of shift and scale, *solve* is
differentiated by autograd on (N, C) tensors, and what arrives at the moments gives

    gx = scale * g + 2 dvar / D * (x - mean) + (dmean - scale * s0) / D

D is the number of positions, H * W in two dimensions.
"""

from __future__ import annotations

import math
from typing import Any, Callable, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from normlab.norms import engine_fused

TINY = 1e-30  # inside a square root it changes no variance that float32 can tell from zero


class Solved(NamedTuple):
    """What a normalizer makes of the moments; *statistics* are for its running state."""

    scale: Tensor
    shift: Tensor
    statistics: Tuple[Tensor, ...] = ()


Solve = Callable[..., Solved]  # (mean, var, *tensors) -> Solved; mean and var are (N, C)


def normalize(
    x: Tensor, solve: Solve, tensors: Sequence[Optional[Tensor]], plain: bool = False
) -> Tuple[Tensor, Tuple[Tensor, ...]]:
    """
    Return y = scale * (x - mean) + shift and *solve*'s statistics, detached.

    Args:
        x: (N, C, positions...).
        solve: pure and differentiable; it is called with the biased variance.
        tensors: handed to *solve* after the moments, in the dtype of the statistics.
        plain: use plain operators only, so that any backend can differentiate them.
    """
    dtype = statistics_dtype(x)
    cast = [None if t is None else t.to(dtype) for t in tensors]
    if plain or x.dim() == 2:
        return _normalize_plain(x, solve, cast)
    if not torch.is_grad_enabled() or not any(_needs_grad(t) for t in (x, *cast)):
        return _normalize_without_graph(x, solve, cast)
    deferred = _Deferred()
    mean, var = _Moments.apply(x, deferred)  # type: ignore[no-untyped-call]
    solved = solve(mean, var, *cast)
    scale, shift = solved.scale.expand_as(mean), solved.shift.expand_as(mean)
    y: Tensor = _Affine.apply(x, mean, scale, shift, deferred)  # type: ignore[no-untyped-call]
    return y, tuple(s.detach() for s in solved.statistics)


def statistics_dtype(x: Tensor) -> torch.dtype:
    """Return float64 for float64 input, and float32 for any other."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def moments(x: Tensor) -> Tuple[Tensor, Tensor]:
    """
    Return mean and biased variance over the positions of contiguous float *x*.

    Shape:
        (N, C, positions...) -> (N, C), (N, C)
    """
    n, c, d = _sizes(x)
    if d == 1:
        return x.reshape(n, c), torch.zeros_like(x).reshape(n, c)
    kernels = engine_fused.kernels_for(x)
    if kernels is not None:
        fused: Tuple[Tensor, Tensor] = kernels.moments(x, n, c)
        return fused
    if x.device.type != "cpu":
        var, mean = torch.var_mean(x.view(n, c, d), dim=2, correction=0)
        return mean, var
    # The reductions of group norm are an order faster on a CPU than var_mean.
    _, mean, rstd = torch.native_group_norm(x, None, None, n, c, d, c, TINY)
    return mean.view(n, c), rstd.view(n, c).pow(-2)


def apply_affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return scale * x + shift; both are (N, C), *x* is contiguous (N, C, positions...)."""
    kernels = engine_fused.kernels_for(x)
    if kernels is not None:
        fused: Tensor = kernels.affine(x, scale, shift)
        return fused
    n, c, d = _sizes(x)
    scale, shift = scale.reshape(-1), shift.reshape(-1)
    zero, one = torch.zeros_like(scale), torch.ones_like(scale)
    flat = x.view(1, n * c, d)
    # Batch norm in evaluation is the fastest affine map by rows that torch has.
    y = torch.native_batch_norm(flat, scale, shift, zero, one, False, 0.0, 0.0)[0]
    return y.view(x.shape)


def two_dots(g: Tensor, x: Tensor, mean: Tensor) -> Tuple[Tensor, Tensor]:
    """
    Return sum(g) and sum(g * (x - mean)) over the positions, in one pass.

    Shape:
        (N, C, positions...) twice and (N, C) -> (N, C), (N, C)
    """
    kernels = engine_fused.kernels_for(x)
    if kernels is not None:
        fused: Tuple[Tensor, Tensor] = kernels.two_dots(g, x, mean)
        return fused
    n, c, d = _sizes(x)
    rows = (1, n * c, d)
    mean, one = mean.reshape(-1), torch.ones_like(mean).view(-1)
    # CPUs read the mean as a running statistic, GPUs as one that the forward saved.
    _, s1, s0 = torch.ops.aten.native_batch_norm_backward(
        g.view(rows), x.view(rows), one, mean, one, mean, one, False, 0.0, [False, True, True]
    )
    return s0.view(n, c), s1.view(n, c)


def combine(x: Tensor, g: Tensor, of_x: Tensor, of_g: Tensor, shift: Tensor) -> Tensor:
    """
    Return of_x * x + of_g * g + shift.

    Shape:
        contiguous (N, C, positions...) twice and (N, C) three times -> (N, C, positions...)
    """
    kernels = engine_fused.kernels_for(x)
    if kernels is not None:
        fused: Tensor = kernels.combine(x, g, of_x, of_g, shift)
        return fused
    n, c, d = _sizes(x)
    y = apply_affine(x, of_x, shift)
    y.view(n * c, d).addcmul_(g.view(n * c, d), of_g.reshape(-1, 1))
    return y


def _normalize_plain(
    x: Tensor, solve: Solve, tensors: Sequence[Optional[Tensor]]
) -> Tuple[Tensor, Tuple[Tensor, ...]]:
    n, c, d = _sizes(x)
    rows = x.to(statistics_dtype(x)).reshape(n, c, d)
    if d == 1:
        solved = solve(rows[:, :, 0], torch.zeros_like(rows[:, :, 0]), *tensors)
        y = solved.shift.expand(n, c)
    else:
        mean = rows.mean(2)
        centred = rows - mean.unsqueeze(2)
        solved = solve(mean, centred.square().mean(2), *tensors)
        scale, shift = solved.scale.expand(n, c), solved.shift.expand(n, c)
        y = centred * scale.unsqueeze(2) + shift.unsqueeze(2)
    y = like(y.reshape(x.shape).to(x.dtype), x)
    return y, tuple(s.detach() for s in solved.statistics)


def _normalize_without_graph(
    x: Tensor, solve: Solve, tensors: Sequence[Optional[Tensor]]
) -> Tuple[Tensor, Tuple[Tensor, ...]]:
    rows = dense(x)
    mean, var = moments(rows)
    solved = solve(mean, var, *tensors)
    scale = solved.scale.expand_as(mean)
    y = apply_affine(rows, scale, solved.shift - scale * mean)
    return like(y.to(x.dtype), x), solved.statistics


class _Deferred:
    """What the affine's backward leaves for that of the moments, so that gx is written once."""

    g: Optional[Tensor] = None  # contiguous, in the dtype of the statistics
    scale: Optional[Tensor] = None


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, deferred: _Deferred) -> Tuple[Tensor, Tensor]:
        mean, var = moments(dense(x))
        ctx.deferred = deferred
        ctx.save_for_backward(x, mean)
        return mean, var

    @staticmethod
    def backward(ctx: Any, dmean: Tensor, dvar: Tensor) -> Tuple[Tensor, None]:
        x, mean = ctx.saved_tensors
        n, c, d = _sizes(x)
        g, scale = ctx.deferred.g, ctx.deferred.scale
        if g is None or scale is None:  # create_graph: operators that can be differentiated again
            rows = x.to(mean.dtype).reshape(n, c, d)
            centred = rows - rows.mean(2, keepdim=True)
            gx = centred * (dvar * (2 / d)).unsqueeze(2) + (dmean / d).unsqueeze(2)
            return like(gx.reshape(x.shape).to(x.dtype), x), None
        ctx.deferred.g = ctx.deferred.scale = None
        slope = dvar * (2 / d)
        shift = torch.addcmul(dmean * (1 / d), slope, mean, value=-1)
        gx = combine(dense(x), g, slope, scale, shift)
        return like(gx.to(x.dtype), x), None


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor, deferred: _Deferred
    ) -> Tensor:
        ctx.deferred = deferred
        ctx.save_for_backward(x, mean, scale)
        y = apply_affine(dense(x), scale, torch.addcmul(shift, scale, mean, value=-1))
        return like(y.to(x.dtype), x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _affine_grads(g, x, mean, scale)
        g_rows = dense(g)
        s0, s1 = two_dots(g_rows, dense(x), mean)
        if not ctx.needs_input_grad[0]:
            return None, None, s1, s0, None
        ctx.deferred.g, ctx.deferred.scale = g_rows, scale
        return None, torch.mul(scale, s0).neg_(), s1, s0, None


def _affine_grads(g: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> Any:
    shape = (*mean.shape, *[1] * (x.dim() - 2))
    dims = list(range(2, x.dim()))
    wide = g.to(mean.dtype)
    centred = x.to(mean.dtype) - mean.view(shape)
    s0, s1 = wide.sum(dims), (wide * centred).sum(dims)
    return (wide * scale.reshape(shape)).to(x.dtype), -scale * s0, s1, s0, None


def dense(x: Tensor) -> Tensor:
    """Return *x* contiguous, in the dtype of its statistics."""
    return x.to(statistics_dtype(x)).contiguous()


def is_native(x: Tensor, weight: Optional[Tensor], plain: bool) -> bool:
    """Tell whether torch's own kernels compute the same as the engine, at the precision asked."""
    if plain or x.dtype in (torch.float32, torch.float64):
        return weight is None or weight.dtype == x.dtype
    return False


def like(y: Tensor, x: Tensor) -> Tensor:
    """Return *y* in the memory format of *x*: channels last stays channels last."""
    if x.is_contiguous():
        return y
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return y.contiguous(memory_format=torch.channels_last)
    if x.dim() == 5 and x.is_contiguous(memory_format=torch.channels_last_3d):
        return y.contiguous(memory_format=torch.channels_last_3d)
    return y


def _needs_grad(t: Optional[Tensor]) -> bool:
    return t is not None and t.requires_grad


def positions(x: Tensor) -> int:
    """Return how many positions each channel of a sample has: H * W in two dimensions."""
    return math.prod(x.shape[2:])


def _sizes(x: Tensor) -> Tuple[int, int, int]:
    return x.shape[0], x.shape[1], math.prod(x.shape[2:])
