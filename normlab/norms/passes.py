"""The passes over the data that all kinds use: moments, affine maps, sums of gradients.

Each is one call of torch's fastest operator for it, or of the compiled loops or the Triton kernels
if they are loaded. Data are (N, C, positions...); values per channel of a sample are (N, C).
"""

from __future__ import annotations

import math
from typing import Any, Optional, Tuple

import torch
from torch import Tensor

from normlab.norms import capture, engine_fused, engine_triton
from normlab.norms.following import Following

TINY = 1e-30  # inside a square root it changes no variance that float32 can tell from zero


def statistics_dtype(x: Tensor) -> torch.dtype:
    """Return float64 for float64 input, and float32 for any other."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _kernels_for(x: Tensor) -> Any:
    kernels = engine_fused.kernels_for(x)
    return engine_triton.kernels_for(x) if kernels is None else kernels


def taken(x: Tensor) -> Tensor:
    """Return *x* for the passes: `dense`, or unchanged if kernels convert it while reading."""
    kernels = engine_triton.kernels_for(x)
    if kernels is None:
        return dense(x)
    read: Tensor = kernels.dense(x)
    return read


def moments(x: Tensor) -> Tuple[Tensor, Tensor]:
    """
    Return mean and biased variance over the positions of *x*, a result of `taken`.

    Shape:
        (N, C, positions...) -> (N, C), (N, C)
    """
    n, c, d = sizes(x)
    if d == 1:
        values = x.to(statistics_dtype(x)).reshape(n, c)
        return values, torch.zeros_like(values)
    kernels = _kernels_for(x)
    if kernels is not None:
        fused: Tuple[Tensor, Tensor] = kernels.moments(x, n, c)
        return fused
    if x.device.type != "cpu":
        var, mean = torch.var_mean(x.view(n, c, d), dim=2, correction=0)
        return mean, var
    # On a CPU, the reductions of group norm are an order of magnitude faster than var_mean.
    _, mean, rstd = torch.native_group_norm(x, None, None, n, c, d, c, TINY)
    return mean.view(n, c), rstd.view(n, c).pow(-2)


def apply_affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return scale * x + shift; *x* is contiguous (N, C, positions...), the others are (N, C)."""
    kernels = _kernels_for(x)
    if kernels is not None:
        fused: Tensor = kernels.affine(x, scale, shift)
        return fused
    n, c, d = sizes(x)
    scale, shift = scale.reshape(-1), shift.reshape(-1)
    zero, one = torch.zeros_like(scale), torch.ones_like(scale)
    flat = x.view(1, n * c, d)
    # Batch norm in evaluation is torch's fastest affine map over rows.
    y = torch.native_batch_norm(flat, scale, shift, zero, one, False, 0.0, 0.0)[0]
    return reshaped(y, x)


def apply_about(
    x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor, following: Optional[Following] = None
) -> Tensor:
    """
    Return scale * (x - mean) + shift; *x* is a result of `taken`, the others are (N, C).

    Kernels also compute what is *following*.
    """
    kernels = engine_triton.kernels_for(x)
    if kernels is not None:
        fused: Tensor = kernels.affine(x, scale, shift, mean, following)
        return fused
    return apply_affine(x, scale, torch.addcmul(shift, scale, mean, value=-1))


def two_dots(g: Tensor, x: Tensor, mean: Tensor) -> Tuple[Tensor, Tensor]:
    """
    Return sum(g) and sum(g * (x - mean)) over the positions, in one pass.

    Shape:
        (N, C, positions...) twice and (N, C) -> (N, C), (N, C)
    """
    kernels = _kernels_for(x)
    if kernels is not None:
        fused: Tuple[Tensor, Tensor] = kernels.two_dots(g, x, mean)
        return fused
    n, c, d = sizes(x)
    rows = (1, n * c, d)
    mean, one = mean.reshape(-1), torch.ones_like(mean).view(-1)
    # On CPUs the mean is read as a running statistic, on GPUs as one saved by the forward.
    _, s1, s0 = torch.ops.aten.native_batch_norm_backward(
        g.view(rows), x.view(rows), one, mean, one, mean, one, False, 0.0, [False, True, True]
    )
    return s0.view(n, c), s1.view(n, c)


def four_dots(
    g: Tensor, x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor, following: Following
) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    """
    Return the result of `two_dots` for the gradient before what is *following*, in kernels.

    The last two are the sums for the numbers that follow.
    """
    kernels = engine_triton.kernels_for(x)
    fused: Tuple[Tensor, Tensor, Tensor, Tensor]
    fused = kernels.two_dots(g, x, mean, following, scale, shift)
    return fused


def combine(x: Tensor, g: Tensor, of_x: Tensor, of_g: Tensor, shift: Tensor) -> Tensor:
    """
    Return of_x * x + of_g * g + shift.

    Shape:
        contiguous (N, C, positions...) twice and (N, C) three times -> (N, C, positions...)
    """
    kernels = _kernels_for(x)
    if kernels is not None:
        fused: Tensor = kernels.combine(x, g, of_x, of_g, shift)
        return fused
    n, c, d = sizes(x)
    y = apply_affine(x, of_x, shift)
    y.view(n * c, d).addcmul_(g.view(n * c, d), of_g.reshape(-1, 1))
    return y


def input_gradient(
    x: Tensor,
    g: Tensor,
    mean: Tensor,
    scale: Tensor,
    dmean: Tensor,
    dvar: Tensor,
    following: Optional[Following] = None,
    shift: Optional[Tensor] = None,
) -> Tensor:
    """
    Return scale * g + 2 dvar / D * (x - mean) + dmean / D.

    Kernels take g before what is *following* the map with *shift*.

    Shape:
        two results of `taken`, (N, C, positions...), and four (N, C) -> (N, C, positions...)
    """
    kernels = engine_triton.kernels_for(x)
    if kernels is not None:
        fused: Tensor = kernels.combine(x, g, dvar, scale, dmean, mean, following, shift)
        return fused
    d = positions(x)
    slope = dvar * (2 / d)
    return combine(x, g, slope, scale, torch.addcmul(dmean * (1 / d), slope, mean, value=-1))


def dense(x: Tensor) -> Tensor:
    """Return *x* as a contiguous tensor in the dtype of its statistics."""
    return x.to(statistics_dtype(x)).contiguous()


def reshaped(y: Tensor, x: Tensor) -> Tensor:
    """
    Return *y*, a new result without other references, in the shape of *x*, but not as a view.

    Autograd refuses in-place operators on a view that an autograd function returns.
    """
    return y if y.shape == x.shape else torch.ops.aten._unsafe_view.default(y, x.shape)


def like(y: Tensor, x: Tensor) -> Tensor:
    """Return *y* in the memory format of *x*: channels last stays channels last."""
    # a transform hides the format, also from a compiler that traces it
    if x.is_contiguous() or capture.is_transformed() or capture.is_transform_traced():
        return y
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return y.contiguous(memory_format=torch.channels_last)
    if x.dim() == 5 and x.is_contiguous(memory_format=torch.channels_last_3d):
        return y.contiguous(memory_format=torch.channels_last_3d)
    return y


def positions(x: Tensor) -> int:
    """Return how many positions each channel of a sample has: H * W in two dimensions."""
    return math.prod(x.shape[2:])


def sizes(x: Tensor) -> Tuple[int, int, int]:
    """Return samples, channels and positions of *x*."""
    return x.shape[0], x.shape[1], positions(x)
