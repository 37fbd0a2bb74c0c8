"""The passes of Online Normalization over a batch: recurrences on (N, C), affine maps on the data.

Names as in `online.py`. With E = 1 - b, all about one sample and channel, mean over D positions:
    my = mean(y), my2 = mean(y^2), pz and rz the means of dL/dz and of dL/dz * y,
    p = weight * pz, r = weight * rz; then the control process is linear in its state:
    v' = (1 - E my2) v + r,    u' = b u + (p - E v my) / s,
    gx = (h - E v y) / s - E u
because mean(x'' y) = r - E v my2, and mean(x') = (p - E v my) / s - E u.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from normlab.norms import engine
from normlab.norms.linear_scan import scan_constant, scan_varying


class Options(NamedTuple):
    """What the passes need to know of a layer."""

    alpha_forward: float
    alpha_backward: float
    eps: float
    group_size: Optional[int]  # of layer scaling; None is no layer scaling
    scaling_eps: float
    clamp: Optional[float]


class Normalize(torch.autograd.Function):
    """The forward and the control process; not the derivative of the forward."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Optional[Tensor],
        bias: Optional[Tensor],
        layer: Any,
    ) -> Tensor:
        """Normalize and move the layer's mu and var."""
        o: Options = layer.options
        rows = _rows(x)
        w, b = _like_statistics(weight, rows), _like_statistics(bias, rows)
        mu, var = layer.start()
        means, variances = engine.moments(rows)
        a = o.alpha_forward
        mus = scan_constant(mu, means, a, 1 - a)
        off = means - mus[:-1]
        square = off.square()
        spread = torch.add(variances, square, alpha=a) if rows.dim() > 2 else square.mul(a)
        vars_ = scan_constant(var, spread, a, 1 - a)
        inv = (vars_[:-1] + o.eps).rsqrt_()
        layer.move(means, mus[-1].clone(), vars_[-1].clone())
        my = off.mul_(inv)
        my2 = variances.add_(square).mul_(inv).mul_(inv) if rows.dim() > 2 else my.square()
        scale = inv if w is None else inv * w
        factor = None
        if o.group_size is not None:
            factor = (_mean_square(my, my2, w, b, o.group_size) + o.scaling_eps).rsqrt_()
        y = _apply(rows, my, scale, mus, b, factor, o)
        ctx.layer, ctx.turn = layer, layer.open_turn() if any(ctx.needs_input_grad) else None
        ctx.save_for_backward(x, weight, bias, mus, inv, my, my2, factor)
        return engine.like(y.view(x.shape).to(x.dtype), x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        """Return the controlled gradients and move the layer's u and v."""
        layer = ctx.layer
        x, weight, bias, mus, inv, my, my2, factor = ctx.saved_tensors
        layer.take_turn(ctx.turn)
        o: Options = layer.options
        e = 1 - o.alpha_backward
        rows, g = _rows(x), _rows(g)
        w, b = _like_statistics(weight, rows), _like_statistics(bias, rows)
        if o.clamp is not None:
            g = _unclamped(g, rows, my, inv, mus, w, b, o.clamp)
        pz, rz = _gradient_means(rows, g, mus, inv, my)
        shrink = None
        if factor is not None:
            pz, rz, shrink = _through_scaling(pz, rz, my, my2, w, b, factor, o)
        d = rows[0, 0].numel()
        d_bias, d_weight = pz.sum(0).mul_(d), rz.sum(0).mul_(d)
        if w is not None:
            pz, rz = pz * w, rz * w
        state = inv.dtype
        vs = scan_varying(layer.v.to(state), torch.mul(my2, -e).add_(1), rz)
        pull = vs[:-1] * e
        us = scan_constant(
            layer.u.to(state), torch.addcmul(pz, pull, my, value=-1).mul_(inv), o.alpha_backward
        )
        layer.u, layer.v = us[-1].clone(), vs[-1].clone()
        gx = None
        if ctx.needs_input_grad[0]:
            gx = _input_grad(rows, g, mus, inv, my, w, b, factor, shrink, pull, us[:-1] * e)
            gx = engine.like(gx.view(x.shape).to(x.dtype), x)
        return (
            gx,
            None if weight is None else d_weight.to(weight.dtype),
            None if bias is None else d_bias.to(bias.dtype),
            None,
        )


def _rows(x: Tensor) -> Tensor:
    """Return dense (N, C, D), or (N, C) where D is 1."""
    x = engine.dense(x)
    n, c = x.shape[:2]
    return x.view(n, c) if x.numel() == n * c else x.view(n, c, -1)


def _like_statistics(p: Optional[Tensor], x: Tensor) -> Optional[Tensor]:
    return None if p is None else p.detach().to(x.dtype)


def _affine(y: Tensor, w: Optional[Tensor], b: Optional[Tensor]) -> Tensor:
    if w is None:
        return y if b is None else y + b
    return y * w if b is None else torch.addcmul(b, y, w)


def _group_mean(t: Tensor, size: int) -> Tensor:
    """Return the mean over each *size* channels: (N, 1) if these are all, (N, C) otherwise."""
    n, c = t.shape
    if size == c:
        return t.mean(1, keepdim=True)
    return t.view(n, c // size, size).mean(2, keepdim=True).expand(-1, -1, size).reshape(n, c)


def _mean_square(
    my: Tensor, my2: Tensor, w: Optional[Tensor], b: Optional[Tensor], size: int
) -> Tensor:
    """Return mean(z^2) over positions and channels, from the moments of y."""
    power = my2 if w is None else my2 * w.square()
    if b is not None:
        twice = b * 2 if w is None else b * w * 2
        power = torch.addcmul(power, my, twice).add_(b.square())
    return _group_mean(power, size)


def _apply(
    rows: Tensor,
    my: Tensor,
    scale: Tensor,
    mus: Tensor,
    b: Optional[Tensor],
    factor: Optional[Tensor],
    o: Options,
) -> Tensor:
    """Return the output: the affine map, then clamped."""
    scale = scale if factor is None else scale * factor
    shift = torch.mul(scale, mus[:-1]).neg_()
    if b is not None:
        shift = shift + b if factor is None else torch.addcmul(shift, factor, b)
    y = torch.addcmul(shift, rows, scale) if rows.dim() == 2 else None
    y = engine.apply_affine(rows, scale, shift) if y is None else y
    return y if o.clamp is None else y.clamp_(-o.clamp, o.clamp)


def _unclamped(
    g: Tensor,
    rows: Tensor,
    my: Tensor,
    inv: Tensor,
    mus: Tensor,
    w: Optional[Tensor],
    b: Optional[Tensor],
    limit: float,
) -> Tensor:
    """Return *g* where z was inside the limits, and 0 elsewhere."""
    scale = inv if w is None else inv * w
    shift = torch.mul(scale, mus[:-1]).neg_()
    if b is not None:
        shift = shift + b
    z = torch.addcmul(shift, rows, scale) if rows.dim() == 2 else None
    z = engine.apply_affine(rows, scale, shift) if z is None else z
    inside: Tensor = torch.ops.aten.hardtanh_backward(g, z, -limit, limit)
    return inside


def _gradient_means(
    rows: Tensor, g: Tensor, mus: Tensor, inv: Tensor, my: Tensor
) -> Tuple[Tensor, Tensor]:
    """Return the means over positions of g and of g * y."""
    if rows.dim() == 2:
        return g, g * my
    s0, s1 = engine.two_dots(g, rows, mus[:-1])
    d = rows.shape[2]
    return s0 / d, s1.mul_(inv).div_(d)


def _through_scaling(
    pz: Tensor,
    rz: Tensor,
    my: Tensor,
    my2: Tensor,
    w: Optional[Tensor],
    b: Optional[Tensor],
    factor: Tensor,
    o: Options,
) -> Tuple[Tensor, Tensor, Tensor]:
    """
    Pull the means of a gradient back through layer scaling: g -> factor * g - shrink * z.

    shrink = factor^3 * mean(g * z), the mean over positions and channels.
    """
    along = rz if w is None else rz * w
    if b is not None:
        along = torch.addcmul(along, pz, b)
    assert o.group_size is not None
    shrink = _group_mean(along, o.group_size) * factor.pow(3)
    z = _affine(my, w, b)  # mean(z), then mean(z * y)
    zy = my2 if w is None else my2 * w
    if b is not None:
        zy = torch.addcmul(zy, my, b)
    pz = torch.addcmul(pz * factor, shrink, z, value=-1)
    rz = torch.addcmul(rz * factor, shrink, zy, value=-1)
    return pz, rz, shrink


def _input_grad(
    rows: Tensor,
    g: Tensor,
    mus: Tensor,
    inv: Tensor,
    my: Tensor,
    w: Optional[Tensor],
    b: Optional[Tensor],
    factor: Optional[Tensor],
    shrink: Optional[Tensor],
    pull: Tensor,
    push: Tensor,
) -> Tensor:
    """Return gx = (weight * (factor * g - shrink * z) - E v y) / s - E u, as a map of g and x."""
    of_g = inv if w is None else inv * w
    of_y, rest = pull * inv, push  # to be subtracted
    if shrink is not None:
        shrunk = shrink * inv if w is None else shrink * of_g
        of_y = of_y + (shrunk if w is None else shrunk * w)
        if b is not None:
            rest = torch.addcmul(rest, shrunk, b)
    if factor is not None:
        of_g = of_g * factor
    if rows.dim() == 2:
        gx = torch.mul(g, of_g).sub_(rest)
        return gx.addcmul_(of_y, my, value=-1)
    of_x = of_y.mul(inv).neg_()
    shift = torch.addcmul(rest, of_x, mus[:-1]).neg_()
    gx = engine.apply_affine(rows, of_x, shift)
    return gx.addcmul_(g, of_g.unsqueeze(2))
