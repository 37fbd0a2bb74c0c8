"""The two passes of Online Normalization as registered operators (see `registered`).

`online_passes` does the same for eager autograd. Here, backward receives the moments of the forward
and recomputes all other values from them.
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple, cast

import torch
from torch import Tensor

from normlab.norms import online_coefficients, online_passes, passes, registered, registered_turns
from normlab.norms.finite import finiteness, keep
from normlab.norms.online_coefficients import OnlineOptions

Forward = Tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
Backward = Tuple[Tensor, Tensor, Tensor]

_OPTIONS = "float[] numbers, int group_size"


def normalize(layer: Any, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
    """Normalize *x* like *layer* in training, and update its mu and var."""
    registered.check(layer)
    state = (layer.mu, layer.var, layer.u, layer.v)
    o: OnlineOptions = layer.options
    limit = float("inf") if o.clamp is None else o.clamp
    numbers = [o.alpha_forward, o.alpha_backward, o.eps, o.scaling_eps, limit]
    forward = registered.operator("online_forward")
    y, _, _, mu, var, *_ = forward(x, weight, bias, *state, numbers, o.group_size or 0)
    layer.move(mu.detach(), var.detach())
    return cast("Tensor", y)


def _options(numbers: List[float], group_size: int) -> OnlineOptions:
    alpha_forward, alpha_backward, eps, scaling_eps, limit = numbers
    clamp = None if limit == float("inf") else limit
    return OnlineOptions(alpha_forward, alpha_backward, eps, group_size or None, scaling_eps, clamp)


def _forward(
    x: Tensor,
    weight: Optional[Tensor],
    bias: Optional[Tensor],
    mu: Tensor,
    var: Tensor,
    u: Tensor,
    v: Tensor,
    numbers: List[float],
    group_size: int,
) -> Forward:
    o = _options(numbers, group_size)
    rows = online_passes.rows_of(x)
    w, b = (online_passes.like_statistics(p, rows) for p in (weight, bias))
    means, variances = passes.moments(rows)
    f = online_coefficients.forward(means, variances, mu.to(rows), var.to(rows), w, b, o)
    y = online_passes.affine(rows, f.scale, f.shift)
    if o.clamp is not None:
        y.clamp_(-o.clamp, o.clamp)
    y = passes.like(passes.reshaped(y, x).to(x.dtype), x)
    if rows.dim() == 2:
        means = means.clone()  # an operator must not return a view of its input
    # the initial state is returned too, because saved arguments may have changed before backward
    return y, means, variances, f.mu, f.var, mu.clone(), var.clone(), registered_turns.open_turn(u)


def _forward_shapes(x: Tensor, weight: Any, bias: Any, *others: Any) -> Forward:
    y = passes.like(x.new_empty(x.shape), x)
    dtype, (n, c) = passes.statistics_dtype(x), x.shape[:2]
    rows = [x.new_empty((n, c), dtype=dtype) for _ in range(2)]
    states = [x.new_empty((c,), dtype=dtype) for _ in range(2)]
    start = [torch.empty_like(others[i]) for i in range(2)]
    turn = torch.empty((), dtype=torch.long, device="cpu")
    return (y, rows[0], rows[1], states[0], states[1], start[0], start[1], turn)


def _keep(ctx: Any, inputs: Any, output: Forward) -> None:
    x, weight, bias, _, _, u, v, numbers, group_size = inputs
    _, means, variances, _, _, mu, var, turn = output
    ctx.save_for_backward(x, weight, bias, mu, var, means, variances, turn)
    ctx.control = (u, v)  # with their values at that time: other backward passes may come first
    ctx.options = (numbers, group_size)
    ctx.mark_non_differentiable(*output[1:])


def _differentiate(ctx: Any, g: Tensor, *others: Any) -> Any:
    x, weight, bias, *kept, turn = ctx.saved_tensors
    backward = registered.operator("online_backward")
    gx, d_weight, d_bias = backward(g, x, weight, bias, *kept, turn, *ctx.control, *ctx.options)
    d_weight = None if weight is None else d_weight.to(weight.dtype)
    d_bias = None if bias is None else d_bias.to(bias.dtype)
    return (gx, d_weight, d_bias, *[None] * 6)


def _backward(
    g: Tensor,
    x: Tensor,
    weight: Optional[Tensor],
    bias: Optional[Tensor],
    mu: Tensor,
    var: Tensor,
    means: Tensor,
    variances: Tensor,
    turn: Tensor,
    u: Tensor,
    v: Tensor,
    numbers: List[float],
    group_size: int,
) -> Backward:
    registered_turns.take_turn(turn)
    o = _options(numbers, group_size)
    rows, g = online_passes.rows_of(x), online_passes.rows_of(g)
    w, b = (online_passes.like_statistics(p, rows) for p in (weight, bias))
    f = online_coefficients.forward(means, variances, mu.to(rows), var.to(rows), w, b, o)
    control = u.to(rows), v.to(rows)
    g, back = online_passes.gradient_coefficients(rows, g, f, *control, w, b, o)
    gx = online_passes.input_grad(rows, g, back, overwrite=o.clamp is not None)
    finite = finiteness(back.u, back.v)
    for state, new in ((u, back.u), (v, back.v)):
        keep(state, new, finite)
    d = rows[0, 0].numel()
    gx = passes.like(passes.reshaped(gx, x).to(x.dtype), x)
    return gx, back.d_weight * d, back.d_bias * d


def _backward_shapes(g: Tensor, x: Tensor, *others: Any) -> Backward:
    gx = passes.like(x.new_empty(x.shape), x)
    d_weight, d_bias = (
        x.new_empty((x.shape[1],), dtype=passes.statistics_dtype(x)) for _ in range(2)
    )
    return gx, d_weight, d_bias


_STATE = "Tensor mu, Tensor var"

registered.register(
    f"online_forward(Tensor x, Tensor? weight, Tensor? bias, {_STATE}, Tensor u, Tensor v, "
    f"{_OPTIONS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _forward,
    _forward_shapes,
)
registered.register(
    f"online_backward(Tensor g, Tensor x, Tensor? weight, Tensor? bias, {_STATE}, Tensor means, "
    f"Tensor variances, Tensor turn, Tensor(a!) u, Tensor(b!) v, {_OPTIONS}) "
    "-> (Tensor, Tensor, Tensor)",
    _backward,
    _backward_shapes,
)
registered.differentiate("online_forward", _differentiate, _keep)
