"""The engine: normalize by a function of moments, forward and backward, in few passes over data.

Nearly every activation normalizer is an affine map for each (sample, channel):

    y = scale * (x - mean) + shift

Here, scale and shift are a small differentiable function, *solve*, of the moments and the
parameters, all of shape (N, C). Backward needs only two sums over the positions,
s0 = sum(g) and s1 = sum(g * (x - mean)), which are the gradients of shift and scale. Autograd
differentiates *solve* on (N, C) tensors, and the gradients of the moments give

    gx = scale * g + 2 dvar / D * (x - mean) + (dmean - scale * s0) / D

D is the number of positions, H * W in two dimensions.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from normlab.norms import capture
from normlab.norms.passes import (
    apply_about,
    input_gradient,
    like,
    moments,
    sizes,
    statistics_dtype,
    taken,
    two_dots,
)
from normlab.norms.typed_bases import Function


class Solved(NamedTuple):
    """The result of *solve*; *statistics* are for the layer's running state."""

    scale: Tensor
    shift: Tensor
    statistics: Tuple[Tensor, ...] = ()


Solve = Callable[..., Solved]  # (mean, var, *tensors) -> Solved; mean and var are (N, C)


def normalize(
    x: Tensor, solve: Solve, tensors: Sequence[Optional[Tensor]], plain: bool = False
) -> Tuple[Tensor, Tuple[Tensor, ...]]:
    """
    Return y = scale * (x - mean) + shift, and *solve*'s detached statistics.

    Args:
        x: (N, C, positions...).
        solve: a pure, differentiable function, which receives the biased variance.
        tensors: further arguments of *solve* after the moments, in the dtype of the statistics.
        plain: whether to use plain operators only, so that any backend can differentiate them.
            Compilers, exporters and the transforms of torch.func always get plain operators.
    """
    dtype = statistics_dtype(x)
    cast = [None if t is None else t.to(dtype) for t in tensors]
    if plain or x.dim() == 2 or capture.is_on(x):
        return _normalize_plain(x, solve, cast)
    if not torch.is_grad_enabled() or not any(_needs_grad(t) for t in (x, *cast)):
        return _normalize_without_graph(x, solve, cast)
    deferred = _Deferred()
    mean, var = _Moments.apply(x, deferred)
    solved = solve(mean, var, *cast)
    scale, shift = solved.scale.expand_as(mean), solved.shift.expand_as(mean)
    y: Tensor = _Affine.apply(x, mean, scale, shift, deferred)
    return y, tuple(s.detach() for s in solved.statistics)


def _normalize_plain(
    x: Tensor, solve: Solve, tensors: Sequence[Optional[Tensor]]
) -> Tuple[Tensor, Tuple[Tensor, ...]]:
    n, c, d = sizes(x)
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
    rows = taken(x)
    mean, var = moments(rows)
    solved = solve(mean, var, *tensors)
    scale, shift = solved.scale.expand_as(mean), solved.shift.expand_as(mean)
    # the same bits as with a graph, because reentrant checkpoints run both
    y = apply_about(rows, mean, scale, shift)
    return like(y.to(x.dtype), x), solved.statistics


class _Deferred:
    """Values that the affine's backward leaves for that of the moments, to write gx only once."""

    g: Optional[Tensor] = None  # in the form that the passes take
    scale: Optional[Tensor] = None


class _Moments(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, deferred: _Deferred) -> Tuple[Tensor, Tensor]:
        mean, var = moments(taken(x))
        ctx.deferred = deferred
        ctx.save_for_backward(x, mean)
        return mean, var

    @staticmethod
    def backward(ctx: Any, dmean: Tensor, dvar: Tensor) -> Tuple[Tensor, None]:
        x, mean = ctx.saved_tensors
        g, scale = ctx.deferred.g, ctx.deferred.scale
        if g is None or scale is None:  # create_graph: use differentiable operators
            n, c, d = sizes(x)
            rows = x.to(mean.dtype).reshape(n, c, d)
            centred = rows - rows.mean(2, keepdim=True)
            gx = centred * (dvar * (2 / d)).unsqueeze(2) + (dmean / d).unsqueeze(2)
            return like(gx.reshape(x.shape).to(x.dtype), x), None
        ctx.deferred.g = ctx.deferred.scale = None
        gx = input_gradient(taken(x), g, mean, scale, dmean, dvar)
        return like(gx.to(x.dtype), x), None


class _Affine(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor, deferred: _Deferred
    ) -> Tensor:
        ctx.deferred = deferred
        ctx.save_for_backward(x, mean, scale)
        y = apply_about(taken(x), mean, scale, shift)
        return like(y.to(x.dtype), x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled():
            ctx.deferred.g = ctx.deferred.scale = None  # left over by a backward without x
            return _affine_grads(g, x, mean, scale)
        g_rows = taken(g)
        s0, s1 = two_dots(g_rows, taken(x), mean)
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


def is_native(x: Tensor, plain: bool, *others: Optional[Tensor]) -> bool:
    """Return whether torch's own kernels compute the same as the engine in the same precision."""
    if not plain and x.dtype not in (torch.float32, torch.float64):
        return False
    found = [t.dtype for t in others if t is not None]
    return found.count(x.dtype) == len(found)


def _needs_grad(t: Optional[Tensor]) -> bool:
    return t is not None and t.requires_grad
