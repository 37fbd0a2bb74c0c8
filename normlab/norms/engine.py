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

from typing import Callable, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from normlab.norms import capture, solve_forms, solve_fused
from normlab.norms.engine_nodes import Affine, Deferred, Moments
from normlab.norms.following import Following
from normlab.norms.passes import (
    apply_about,
    like,
    moments,
    positions,
    sizes,
    statistics_dtype,
    taken,
)
from normlab.norms.solve_forms import Form
from normlab.norms.solve_fused import Cancelled


class Solved(NamedTuple):
    """
    The result of *solve*; *statistics* are for the layer's running state.

    PyTorch 2.0 cannot compile a layer that leaves them out, so the kinds of this package give them.
    """

    scale: Tensor
    shift: Tensor
    statistics: Tuple[Tensor, ...] = ()


Solve = Callable[..., Solved]  # (mean, var, *tensors) -> Solved; mean and var are (N, C)


def normalize(
    x: Tensor,
    solve: Solve,
    tensors: Sequence[Optional[Tensor]],
    plain: bool = False,
    form: Optional[Form] = None,
    following: Optional[Following] = None,
) -> Tuple[Tensor, Tuple[Tensor, ...]]:
    """
    Return y = scale * (x - mean) + shift, and *solve*'s detached statistics.

    Args:
        x: (N, C, positions...).
        solve: a pure, differentiable function, which receives the biased variance.
        tensors: further arguments of *solve* after the moments, in the dtype of the statistics.
        plain: whether to use plain operators only, so that any backend can differentiate them.
            Compilers, exporters and the transforms of torch.func always get plain operators.
        form: the same function for Triton kernels, if they know it.
        following: what y includes too, if `can_follow` says that it can.
    """
    dtype = statistics_dtype(x)
    cast = [None if t is None else t.to(dtype) for t in tensors]
    if plain or capture.is_on(x):
        return _normalize_plain(x, solve, cast)
    if x.dim() == 2:
        return _normalize_values(x, solve, cast, form)
    if not torch.is_grad_enabled() or not any(map(_needs_grad, _all(x, cast, following))):
        return _normalize_without_graph(x, solve, cast, form, following)
    deferred = Deferred()
    mean, var = Moments.apply(x, deferred)
    if form is None or solve_forms.kernels_for(form, x, cast) is None:
        solved = solve(mean, var, *cast)
    else:
        deferred.cancelled = Cancelled()
        how = solve_fused.How(form, solve, positions(x), deferred.cancelled)
        solved = Solved(*solve_fused.solved(how, mean, var, *cast))
    scale, shift = solved.scale.expand_as(mean), solved.shift.expand_as(mean)
    more = () if following is None else following.tensors()
    y: Tensor = Affine.apply(x, mean, scale, shift, deferred, following, *more)
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


def _normalize_values(
    x: Tensor, solve: Solve, tensors: Sequence[Optional[Tensor]], form: Optional[Form]
) -> Tuple[Tensor, Tuple[Tensor, ...]]:
    if form is None or solve_forms.kernels_for(form, x, tensors) is None:
        return _normalize_plain(x, solve, tensors)
    values = x.to(statistics_dtype(x))
    how = solve_fused.How(form, solve, 1)
    _, shift, statistics = solve_fused.solved(how, values, torch.zeros_like(values), *tensors)
    return shift.to(x.dtype, copy=True), statistics  # autograd refuses to change a view in place


def _normalize_without_graph(
    x: Tensor,
    solve: Solve,
    tensors: Sequence[Optional[Tensor]],
    form: Optional[Form],
    following: Optional[Following],
) -> Tuple[Tensor, Tuple[Tensor, ...]]:
    rows = taken(x)
    mean, var = moments(rows)
    if form is None or solve_forms.kernels_for(form, x, tensors) is None:
        solved = solve(mean, var, *tensors)
    else:
        how = solve_fused.How(form, solve, positions(x))
        solved = Solved(*solve_fused.solved(how, mean, var, *tensors))
    scale, shift = solved.scale.expand_as(mean), solved.shift.expand_as(mean)
    # the same bits as with a graph, because reentrant checkpoints run both
    y = apply_about(rows, mean, scale, shift, following)
    return like(y.to(x.dtype), x), solved.statistics


def is_native(x: Tensor, plain: bool, *others: Optional[Tensor]) -> bool:
    """Return whether torch's own kernels compute the same as the engine in the same precision."""
    if not plain and x.dtype not in (torch.float32, torch.float64):
        return False
    found = [t.dtype for t in others if t is not None]
    return found.count(x.dtype) == len(found)


def _all(
    x: Tensor, tensors: Sequence[Optional[Tensor]], following: Optional[Following]
) -> Sequence[Optional[Tensor]]:
    return (x, *tensors) if following is None else (x, *tensors, *following.tensors())


def _needs_grad(t: Optional[Tensor]) -> bool:
    return t is not None and t.requires_grad
