"""Activations inside kernels, with what follows them: a floor, a scale and shift, or a limit.

The backward pass computes them again, from the input of the norm. NaN and the sign of zero are
those of torch's operators.
"""

from __future__ import annotations

from typing import Any, Tuple

import triton.language as tl
from torch import Tensor

from normlab.norms.triton_kernels.compiling import jit

NUMBERS = {None: 0, "relu": 1, "silu": 2, "gelu": 3}
_FLOORED, _SCALED, _LIMITED = 1, 2, 3


def codes_of(following: Any, unused: Tensor) -> Tuple[int, int, Tensor, Tensor]:
    """
    Return ACT and AFTER for kernels, and the numbers of each channel that they read.

    Args:
        following: a `following.Following`, or None.
        unused: a tensor in place of those that are not read.
    """
    if following is None:
        return 0, 0, unused, unused
    act = NUMBERS[following.activation]
    if following.floor is not None:
        return act, _FLOORED, following.floor, unused
    if following.scale is not None:
        return act, _SCALED, following.scale, following.shift
    if following.limit is not None:
        return act, _LIMITED, following.limit, unused
    return act, 0, unused, unused


@jit
def followed(
    z: tl.tensor,
    c: tl.tensor,
    inside: tl.tensor,
    after: tl.tensor,
    then: tl.tensor,
    ACT: tl.constexpr,
    AFTER: tl.constexpr,
) -> tl.tensor:
    """Return the layer's output for the norm's output *z* in channels *c*."""
    y = activated(z, ACT)
    if AFTER == 1:
        floor = tl.load(after + c, mask=inside, other=0.0)
        y = tl.where(y <= floor, floor, y)
    if AFTER == 2:
        y = y * tl.load(after + c, mask=inside, other=0.0)
        y += tl.load(then + c, mask=inside, other=0.0)
    if AFTER == 3:
        limit = tl.load(after)
        y = tl.where(y > limit, limit, tl.where(y < -limit, -limit, y))
    return y


@jit
def before(
    g: tl.tensor,
    z: tl.tensor,
    c: tl.tensor,
    inside: tl.tensor,
    after: tl.tensor,
    ACT: tl.constexpr,
    AFTER: tl.constexpr,
) -> tl.tensor:
    """Return the gradient of *z*, and the part of each value in the gradient of *after*."""
    of_after = g
    if AFTER == 1:
        floor = tl.load(after + c, mask=inside, other=0.0)
        of_after = tl.where(z <= floor, g, 0.0)
        g = tl.where(z <= floor, 0.0, g)
    if AFTER == 2:
        of_after = g * activated(z, ACT)
        g = g * tl.load(after + c, mask=inside, other=0.0)
    if AFTER == 3:  # without an activation
        g = tl.where(tl.abs(z) >= tl.load(after), 0.0, g)
    if ACT == 1:
        g = tl.where(z <= 0, 0.0, g)
    if ACT > 1:
        g = g * slope_of(z, ACT)
    return g, of_after


@jit
def activated(z: tl.tensor, ACT: tl.constexpr) -> tl.tensor:
    """Return the activation of *z*."""
    y = z
    if ACT == 1:
        y = tl.where(z < 0, 0.0, z)
    if ACT == 2:
        y = z / (1 + tl.exp(-z))
    if ACT == 3:
        y = z * (0.5 * (1 + tl.erf(z * 0.7071067811865476)))
    return y


@jit
def slope_of(z: tl.tensor, ACT: tl.constexpr) -> tl.tensor:
    """Return the derivative of the activation at *z*."""
    if ACT == 1:
        slope = tl.where(z <= 0, 0.0, 1.0)
    elif ACT == 2:
        s = 1 / (1 + tl.exp(-z))
        slope = s * (1 + z * (1 - s))
    else:
        slope = 0.5 * (1 + tl.erf(z * 0.7071067811865476))
        slope += z * (tl.exp(-0.5 * z * z) * 0.3989422804014327)
    return slope
