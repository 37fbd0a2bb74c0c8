"""The two autograd nodes around a solve step: the moments before it, and the map after it.

Together they write the gradient of the data only once: see `engine` for the formula.
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import torch
from torch import Tensor

from normlab.norms.following import Following
from normlab.norms.once import gradients_again
from normlab.norms.passes import (
    apply_about,
    four_dots,
    input_gradient,
    like,
    moments,
    sizes,
    taken,
    two_dots,
)
from normlab.norms.solve_fused import Cancelled
from normlab.norms.typed_bases import Function


class Deferred:
    """Values that the affine's backward leaves for that of the moments, to write gx only once."""

    g: Optional[Tensor] = None  # in the form that the passes take
    scale: Optional[Tensor] = None
    shift: Optional[Tensor] = None
    following: Optional[Following] = None
    cancelled: Optional[Cancelled] = None  # if the solve step can leave out what cancels

    def forget(self) -> None:
        """Keep no tensors."""
        self.g = self.scale = self.shift = self.following = None
        if self.cancelled is not None:
            self.cancelled.of_shift = None


class Moments(Function):
    """Mean and variance of each channel of each sample, (N, C)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, deferred: Deferred) -> Tuple[Tensor, Tensor]:
        """Compute the moments of *x*."""
        mean, var = moments(taken(x))
        ctx.deferred = deferred
        ctx.save_for_backward(x, mean)
        return mean, var

    @staticmethod
    def backward(ctx: Any, dmean: Tensor, dvar: Tensor) -> Tuple[Tensor, None]:
        """Return the gradient of *x*, with what the map left for it."""
        x, mean = ctx.saved_tensors
        d = ctx.deferred
        g, scale, shift, following = d.g, d.scale, d.shift, d.following
        if g is None or scale is None:  # create_graph: use differentiable operators
            n, c, d = sizes(x)
            rows = x.to(mean.dtype).reshape(n, c, d)
            centred = rows - rows.mean(2, keepdim=True)
            gx = centred * (dvar * (2 / d)).unsqueeze(2) + (dmean / d).unsqueeze(2)
            return like(gx.reshape(x.shape).to(x.dtype), x), None
        ctx.deferred.forget()
        gx = input_gradient(taken(x), g, mean, scale, dmean, dvar, following, shift)
        return like(gx.to(x.dtype), x), None


class Affine(Function):
    """The map y = scale * (x - mean) + shift, and what follows it."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mean: Tensor,
        scale: Tensor,
        shift: Tensor,
        deferred: Deferred,
        following: Optional[Following],
        *more: Tensor,
    ) -> Tensor:
        """Map *x*."""
        ctx.deferred, ctx.following = deferred, following
        ctx.save_for_backward(x, mean, scale, *([] if following is None else [shift, *more]))
        y = apply_about(taken(x), mean, scale, shift, following)
        return like(y.to(x.dtype), x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """Return gradients, and leave that of *x* to the moments."""
        deferred = ctx.deferred
        if torch.is_grad_enabled():
            deferred.forget()  # left over by a backward without x
            return _differentiable_grads(ctx, g)
        x, mean, scale, *rest = ctx.saved_tensors
        g_rows = taken(g)
        more: Tuple[Tensor, ...] = ()
        if ctx.following is None:
            s0, s1 = two_dots(g_rows, taken(x), mean)
        else:
            following = ctx.following.with_tensors(*rest[1:])
            s0, s1, *sums = four_dots(g_rows, taken(x), mean, scale, rest[0], following)
            more = tuple(t.sum(0) for t in sums[: len(rest) - 1])
            deferred.shift, deferred.following = rest[0], following
        if not ctx.needs_input_grad[0]:
            deferred.forget()
            return None, None, s1, s0, None, None, *more
        deferred.g, deferred.scale = g_rows, scale
        if deferred.cancelled is not None:
            deferred.cancelled.of_shift = s0
            return None, None, s1, s0, None, None, *more
        return None, torch.mul(scale, s0).neg_(), s1, s0, None, None, *more


def _differentiable_grads(ctx: Any, g: Tensor) -> Any:
    x, mean, scale, *rest = ctx.saved_tensors
    if ctx.following is None:
        return (*_affine_grads(g, x, mean, scale), None)

    def mapped(
        x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor, *more: Tensor
    ) -> List[Tensor]:
        shape = (*mean.shape, *[1] * (x.dim() - 2))
        z = (x.to(mean.dtype) - mean.view(shape)) * scale.reshape(shape) + shift.reshape(shape)
        return [ctx.following.with_tensors(*more).apply(z).to(x.dtype)]

    needed = [*ctx.needs_input_grad[:4], *ctx.needs_input_grad[6:]]
    found = gradients_again(mapped, (x, mean, scale, *rest), [g], needed)
    return (*found[:4], None, None, *found[4:])


def _affine_grads(g: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> Any:
    shape = (*mean.shape, *[1] * (x.dim() - 2))
    dims = list(range(2, x.dim()))
    wide = g.to(mean.dtype)
    centred = x.to(mean.dtype) - mean.view(shape)
    s0, s1 = wide.sum(dims), (wide * centred).sum(dims)
    return (wide * scale.reshape(shape)).to(x.dtype), -scale * s0, s1, s0, None
