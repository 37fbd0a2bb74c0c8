"""The two passes of Online Normalization over the data of a batch, as an autograd function."""

from __future__ import annotations

from typing import Any, Iterator, Optional, Tuple

import torch
from torch import Tensor

from normlab.norms import online_coefficients, passes
from normlab.norms.once import differentiable_once
from normlab.norms.online_coefficients import Backward, Forward, OnlineOptions
from normlab.norms.typed_bases import Function

_SLICE = 1 << 16  # values that stay in a core's cache from one operator to the next


class Normalize(Function):
    """The forward pass, and the control process, which is not the derivative of the forward."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Optional[Tensor],
        bias: Optional[Tensor],
        layer: Any,
    ) -> Tensor:
        """Normalize, and update the layer's mu and var."""
        o: OnlineOptions = layer.options
        rows = rows_of(x)
        w, b = like_statistics(weight, rows), like_statistics(bias, rows)
        means, variances = passes.moments(rows)
        mu, var = layer.start()
        f = online_coefficients.forward(means, variances, mu, var, w, b, o)
        layer.move(f.mu, f.var)
        y = affine(rows, f.scale, f.shift)
        if o.clamp is not None:
            y.clamp_(-o.clamp, o.clamp)
        ctx.control = layer.u, layer.v
        ctx.layer, ctx.turn = layer, layer.open_turn() if any(ctx.needs_input_grad) else None
        ctx.save_for_backward(x, weight, bias, *f[:7])
        return passes.like(passes.reshaped(y, x).to(x.dtype), x)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, g: Tensor) -> Any:
        """Return the controlled gradients, and update the layer's u and v."""
        layer = ctx.layer
        x, weight, bias, *saved = ctx.saved_tensors
        layer.take_turn(ctx.turn)
        o: OnlineOptions = layer.options
        f = Forward._make([*saved, None, None])
        rows, g = rows_of(x), rows_of(g)
        w, b = like_statistics(weight, rows), like_statistics(bias, rows)
        u, v = (state.to(f.inv.dtype) for state in ctx.control)
        g, back = gradient_coefficients(rows, g, f, u, v, w, b, o)
        layer.move_control(ctx.control, back.u, back.v)
        gx = None
        if ctx.needs_input_grad[0]:
            gx = input_grad(rows, g, back, overwrite=o.clamp is not None)
            gx = passes.like(gx.view(x.shape).to(x.dtype), x)
        d = rows[0, 0].numel()
        return (
            gx,
            None if weight is None else back.d_weight.mul_(d).to(weight.dtype),
            None if bias is None else back.d_bias.mul_(d).to(bias.dtype),
            None,
        )


def gradient_coefficients(
    rows: Tensor,
    g: Tensor,
    f: Forward,
    u: Tensor,
    v: Tensor,
    w: Optional[Tensor],
    b: Optional[Tensor],
    o: OnlineOptions,
) -> Tuple[Tensor, Backward]:
    """Return the gradient before the clamp, and the coefficients of the input's gradient."""
    if o.clamp is not None:
        g = _unclamped(g, rows, f, o.clamp)
    pz, rz = _gradient_means(rows, g, f)
    return g, online_coefficients.backward(pz, rz, f, u, v, w, b, o)


def rows_of(x: Tensor) -> Tensor:
    """Return *x* as dense (N, C, D), or (N, C) if D is 1."""
    x = passes.dense(x)
    n, c = x.shape[:2]
    return x.view(n, c) if x.numel() == n * c else x.view(n, c, -1)


def like_statistics(p: Optional[Tensor], x: Tensor) -> Optional[Tensor]:
    """Return *p* in the dtype of *x*."""
    return p if p is None or p.dtype == x.dtype else p.to(x.dtype)


def affine(rows: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return scale * rows + shift."""
    if rows.dim() == 2:
        return torch.addcmul(shift, rows, scale)
    return passes.apply_affine(rows, scale, shift)


def _unclamped(g: Tensor, rows: Tensor, f: Forward, limit: float) -> Tensor:
    """Return *g* where z was inside the limits, and 0 elsewhere."""
    inside = torch.empty_like(g)
    for part, z in _affine_parts(rows, f.scale, f.shift):
        torch.ops.aten.hardtanh_backward.grad_input(
            g[part], z, -limit, limit, grad_input=inside[part]
        )
    return inside


def input_grad(rows: Tensor, g: Tensor, back: Backward, overwrite: bool) -> Tensor:
    """Return the gradient of the input; *overwrite* allows *g* to be overwritten."""
    if not overwrite:
        gx = affine(rows, back.of_x, back.shift)
        return gx.addcmul_(g, _by_row(back.of_g, rows))
    for part, of_x in _affine_parts(rows, back.of_x, back.shift):
        g[part].mul_(_by_row(back.of_g[part], rows)).add_(of_x)
    return g


def _affine_parts(rows: Tensor, scale: Tensor, shift: Tensor) -> Iterator[Tuple[slice, Tensor]]:
    """Compute scale * x + shift for a few samples at a time, in one buffer that stays in cache."""
    n = rows.shape[0]
    length = min(n, max(1, _SLICE * n // rows.numel())) if rows.device.type == "cpu" else n
    buffer = torch.empty_like(rows[:length])
    for start in range(0, n, length):
        part = slice(start, min(n, start + length))
        out = buffer[: part.stop - part.start]
        torch.mul(rows[part], _by_row(scale[part], rows), out=out)
        yield part, out.add_(_by_row(shift[part], rows))


def _by_row(t: Tensor, rows: Tensor) -> Tensor:
    return t if rows.dim() == 2 else t.unsqueeze(2)


def _gradient_means(rows: Tensor, g: Tensor, f: Forward) -> Tuple[Tensor, Tensor]:
    """Return the means over positions of g and of g * y."""
    if rows.dim() == 2:
        return g, g * f.my
    s0, s1 = passes.two_dots(g, rows, f.mus)
    d = rows.shape[2]
    return s0.div_(d), s1.mul_(f.inv).div_(d)
