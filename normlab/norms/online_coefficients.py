"""Online Normalization on (N, C): compute both passes' affine maps and the states from moments.

Names are as in `online.py`, for one sample and channel; E = 1 - b, and means are over D positions.
    my = mean(y), my2 = mean(y^2), pz = mean(dL/dz), rz = mean(dL/dz * y),
    p = weight * pz, r = weight * rz. Then the control process is linear in its state:
    v' = (1 - E my2) v + r,    u' = b u + (p - E v my) / s,
    gx = (h - E v y) / s - E u
because mean(x'' y) = r - E v my2, and mean(x') = (p - E v my) / s - E u.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from normlab.norms.linear_scan import scan_constant, scan_varying


class OnlineOptions(NamedTuple):
    """The options of a layer for the passes."""

    alpha_forward: float
    alpha_backward: float
    eps: float
    group_size: Optional[int]  # of layer scaling; None for no layer scaling
    scaling_eps: float
    clamp: Optional[float]


class Forward(NamedTuple):
    """y = scale * x + shift, the values that backward needs, and the state after the batch."""

    scale: Tensor  # (N, C), like all others except the states
    shift: Tensor
    inv: Tensor  # 1 / sqrt(var + eps) of each sample
    mus: Tensor  # mu before each sample
    my: Tensor
    my2: Tensor
    factor: Optional[Tensor]  # of layer scaling; (N, 1) if there is one per sample
    mu: Tensor  # (C,)
    var: Tensor  # (C,)


class Backward(NamedTuple):
    """gx = of_g * g + of_x * x + shift, the affine's gradients divided by D, and the new state."""

    of_g: Tensor
    of_x: Tensor
    shift: Tensor
    d_weight: Tensor  # (C,), like the following
    d_bias: Tensor
    u: Tensor
    v: Tensor


def forward(
    means: Tensor,
    variances: Tensor,
    mu: Tensor,
    var: Tensor,
    w: Optional[Tensor],
    b: Optional[Tensor],
    o: OnlineOptions,
) -> Forward:
    """Scan the moments of a batch."""
    a = o.alpha_forward
    all_mus = scan_constant(mu, means, a, 1 - a)
    mus = all_mus[:-1]
    off = means - mus
    square = off.square()
    all_vars = scan_constant(var, torch.add(variances, square, alpha=a), a, 1 - a)
    inv = (all_vars[:-1] + o.eps).rsqrt_()
    my = off.mul_(inv)
    my2 = square.add_(variances).mul_(inv).mul_(inv)
    scale = inv if w is None else inv * w
    factor = None
    if o.group_size is not None:
        factor = (_mean_square(my, my2, w, b, o.group_size) + o.scaling_eps).rsqrt_()
        scale = scale * factor
    shift = torch.mul(scale, mus).neg_()
    if b is not None:
        shift = shift.add_(b) if factor is None else shift.addcmul_(factor, b)
    new = all_mus[-1].clone(), all_vars[-1].clone()
    return Forward(scale, shift, inv, mus, my, my2, factor, *new)


def backward(
    pz: Tensor,
    rz: Tensor,
    f: Forward,
    u: Tensor,
    v: Tensor,
    w: Optional[Tensor],
    b: Optional[Tensor],
    o: OnlineOptions,
) -> Backward:
    """Scan the means of a gradient that the clamp has passed but layer scaling has not."""
    e = 1 - o.alpha_backward
    shrink = None
    if f.factor is not None:
        pz, rz, shrink = _through_scaling(pz, rz, f.my, f.my2, w, b, f.factor, o)
    d_bias, d_weight = pz.sum(0), rz.sum(0)
    if w is not None:
        pz, rz = pz * w, rz * w
    vs = scan_varying(v, torch.mul(f.my2, -e).add_(1), rz)
    pull = vs[:-1] * e
    q = torch.addcmul(pz, pull, f.my, value=-1).mul_(f.inv)
    us = scan_constant(u, q, o.alpha_backward)
    of_y, rest = pull.mul_(f.inv), us[:-1] * e  # both are subtracted
    of_g = f.inv if w is None else f.inv * w
    if shrink is not None and f.factor is not None:
        shrunk = shrink * of_g
        of_y = of_y.add_(shrunk) if w is None else of_y.addcmul_(shrunk, w)
        if b is not None:
            rest = rest.addcmul_(shrunk, b)
        of_g = of_g * f.factor
    of_x = of_y.mul_(f.inv).neg_()
    shift = rest.addcmul_(of_x, f.mus).neg_()
    return Backward(of_g, of_x, shift, d_weight, d_bias, us[-1].clone(), vs[-1].clone())


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


def _through_scaling(
    pz: Tensor,
    rz: Tensor,
    my: Tensor,
    my2: Tensor,
    w: Optional[Tensor],
    b: Optional[Tensor],
    factor: Tensor,
    o: OnlineOptions,
) -> Tuple[Tensor, Tensor, Tensor]:
    """
    Propagate the means of a gradient back through layer scaling: g -> factor * g - shrink * z.

    shrink = factor^3 * mean(g * z), with the mean over positions and channels.
    """
    along = rz if w is None else rz * w
    z = my if w is None else my * w  # mean(z), then mean(z * y)
    zy = my2 if w is None else my2 * w
    if b is not None:
        along, z, zy = torch.addcmul(along, pz, b), z + b, torch.addcmul(zy, my, b)
    assert o.group_size is not None
    shrink = _group_mean(along, o.group_size) * factor.pow(3)
    pz = torch.addcmul(pz * factor, shrink, z, value=-1)
    rz = torch.addcmul(rz * factor, shrink, zy, value=-1)
    return pz, rz, shrink
