"""What an activation makes of a normal variable for each channel: a launch forward, one backward.

The definitions are in `rectified` and `proxy`: m and s2 are the mean and the variance of
phi(weight * Y + bias) for Y ~ N(proxy_bias, (1 + proxy_weight)^2), and i = 1 / sqrt(s2 + eps).
"""

from __future__ import annotations

from typing import Optional, Sequence, Tuple

import triton
import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.activating import NUMBERS, activated, slope_of
from normlab.norms.triton_kernels.compiling import jit, launch

_BLOCK = 32

Rule = Optional[Tuple[Tensor, Tensor]]  # nodes and masses, (K,) each; None is exact, for ReLU


def proxied(
    parameters: Sequence[Tensor], activation: str, rule: Rule, eps: float, folded: bool
) -> Tensor:
    """
    Return i w, i (b - m) and -i m if *folded*, else three rows of which the last two are i, -i m.

    Args:
        parameters: weight, bias, proxy_weight and proxy_bias, (C,).
        folded: whether the activation is ReLU, whose scale and shift go into the norm's affine.

    Shape:
        -> (3, C)
    """
    c = parameters[0].shape[0]
    found = parameters[0].new_empty(3, c)
    nodes, masses = (found, found) if rule is None else rule
    launch(
        proxied_kernel, triton.cdiv(c, _BLOCK), *parameters, nodes, masses, found, eps, c,
        0 if rule is None else nodes.shape[0], NUMBERS[activation], rule is None, folded,
        _BLOCK,
    )  # fmt: skip
    return found


def proxied_slopes(
    parameters: Sequence[Tensor],
    g: Sequence[Tensor],
    activation: str,
    rule: Rule,
    eps: float,
    folded: bool,
) -> Tensor:
    """Return the gradients of the parameters, (4, C), for those of the rows of `proxied`."""
    c = parameters[0].shape[0]
    found = parameters[0].new_empty(4, c)
    nodes, masses = (found, found) if rule is None else rule
    launch(
        proxied_slopes_kernel, triton.cdiv(c, _BLOCK), *parameters, nodes, masses, *g, found,
        eps, c, 0 if rule is None else nodes.shape[0], NUMBERS[activation], rule is None,
        folded, _BLOCK,
    )  # fmt: skip
    return found


@jit
def proxied_kernel(
    weight: tl.tensor,
    bias: tl.tensor,
    proxy_weight: tl.tensor,
    proxy_bias: tl.tensor,
    nodes: tl.tensor,
    masses: tl.tensor,
    found: tl.tensor,
    eps: tl.tensor,
    channels: tl.tensor,
    rows: tl.tensor,
    ACT: tl.constexpr,
    EXACT: tl.constexpr,
    FOLDED: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Compute some channels."""
    c = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = c < channels
    w, b, spread, center = _parameters(weight, bias, proxy_weight, proxy_bias, c, inside)
    m, i = _statistics(w, b, spread, center, nodes, masses, rows, eps, ACT, EXACT)
    if FOLDED:
        tl.store(found + c, w * i, mask=inside)
        tl.store(found + channels + c, i * b - m * i, mask=inside)
    else:
        tl.store(found + channels + c, i, mask=inside)
    tl.store(found + 2 * channels + c, -m * i, mask=inside)


@jit
def proxied_slopes_kernel(
    weight: tl.tensor,
    bias: tl.tensor,
    proxy_weight: tl.tensor,
    proxy_bias: tl.tensor,
    nodes: tl.tensor,
    masses: tl.tensor,
    of_scale: tl.tensor,
    of_shift: tl.tensor,
    of_floor: tl.tensor,
    found: tl.tensor,
    eps: tl.tensor,
    channels: tl.tensor,
    rows: tl.tensor,
    ACT: tl.constexpr,
    EXACT: tl.constexpr,
    FOLDED: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Go back through `proxied_kernel` for some channels."""
    c = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = c < channels
    w, b, spread, center = _parameters(weight, bias, proxy_weight, proxy_bias, c, inside)
    g_shift = tl.load(of_shift + c, mask=inside, other=0.0)
    g_floor = tl.load(of_floor + c, mask=inside, other=0.0)
    m, i = _statistics(w, b, spread, center, nodes, masses, rows, eps, ACT, EXACT)
    dw, db = tl.zeros_like(w), tl.zeros_like(w)
    if FOLDED:
        g_scale = tl.load(of_scale + c, mask=inside, other=0.0)
        g_floor += g_shift
        dw, db = g_scale * i, g_shift * i
        g_i = g_scale * w + g_shift * b - g_floor * m
    else:
        g_i = g_shift - g_floor * m
    g_m, g_half_var = -g_floor * i, -g_i * i * i * i
    if EXACT:
        g_center, g_signed = _rectified_slopes(w * center + b, w * spread, m, g_m, g_half_var)
        dw += g_center * center + g_signed * spread
        db += g_center
        dw2, db2 = g_signed * w, g_center * w
    else:
        dw2, db2 = tl.zeros_like(w), tl.zeros_like(w)
        for row in range(rows):
            node = tl.load(nodes + row)
            y = spread * node + center
            t = w * y + b
            deviation = activated(t, ACT) - m
            g_t = tl.load(masses + row) * slope_of(t, ACT) * (g_m + g_half_var * deviation)
            dw += g_t * y
            db += g_t
            dw2 += g_t * w * node
            db2 += g_t * w
    tl.store(found + c, dw, mask=inside)
    tl.store(found + channels + c, db, mask=inside)
    tl.store(found + 2 * channels + c, dw2, mask=inside)
    tl.store(found + 3 * channels + c, db2, mask=inside)


@jit
def _parameters(
    weight: tl.tensor,
    bias: tl.tensor,
    proxy_weight: tl.tensor,
    proxy_bias: tl.tensor,
    c: tl.tensor,
    inside: tl.tensor,
) -> tl.tensor:
    w, b = tl.load(weight + c, mask=inside, other=1.0), tl.load(bias + c, mask=inside, other=0.0)
    spread = 1 + tl.load(proxy_weight + c, mask=inside, other=0.0)
    return w, b, spread, tl.load(proxy_bias + c, mask=inside, other=0.0)


@jit
def _statistics(
    w: tl.tensor,
    b: tl.tensor,
    spread: tl.tensor,
    center: tl.tensor,
    nodes: tl.tensor,
    masses: tl.tensor,
    rows: tl.tensor,
    eps: tl.tensor,
    ACT: tl.constexpr,
    EXACT: tl.constexpr,
) -> tl.tensor:
    if EXACT:
        m, var = _rectified(w * center + b, tl.abs(w * spread))
    else:
        m, var = _expected(w, b, spread, center, nodes, masses, rows, ACT)
    return m, tl.rsqrt(var + eps)


@jit
def _rectified_slopes(
    center: tl.tensor, signed: tl.tensor, m: tl.tensor, g_m: tl.tensor, g_half_var: tl.tensor
) -> tl.tensor:
    size = tl.abs(signed)
    _, half_erf, density = _at_zero(center, size)
    below = half_erf + 0.5
    g_center = g_m * below + g_half_var * m * (1 - below)
    g_size = g_m * density + g_half_var * (size * below - m * density)
    return g_center, tl.where(signed < 0, -g_size, tl.where(signed > 0, g_size, 0.0))


@jit
def _rectified(center: tl.tensor, spread: tl.tensor) -> tl.tensor:
    t, half_erf, density = _at_zero(center, spread)
    below, above = 0.5 + half_erf, 0.5 - half_erf
    ratio = below + t * t * below * above - 2 * t * density * half_erf - density * density
    ratio = tl.where(ratio < 0, 0.0, ratio)
    return center * below + spread * density, spread * spread * ratio


@jit
def _at_zero(center: tl.tensor, spread: tl.tensor) -> tl.tensor:
    t = center / tl.where(spread < 1e-30, 1e-30, spread)
    t = tl.where(t < -12.0, -12.0, tl.where(t > 12.0, 12.0, t))
    return t, 0.5 * tl.erf(t * 0.7071067811865476), tl.exp(-0.5 * t * t) * 0.3989422804014327


@jit
def _expected(
    w: tl.tensor,
    b: tl.tensor,
    spread: tl.tensor,
    center: tl.tensor,
    nodes: tl.tensor,
    masses: tl.tensor,
    rows: tl.tensor,
    ACT: tl.constexpr,
) -> tl.tensor:
    m, var = tl.zeros_like(w), tl.zeros_like(w)
    for row in range(rows):
        phi = activated(w * (spread * tl.load(nodes + row) + center) + b, ACT)
        m += tl.load(masses + row) * phi
    for row in range(rows):
        away = activated(w * (spread * tl.load(nodes + row) + center) + b, ACT) - m
        var += tl.load(masses + row) * away * away
    return m, var
