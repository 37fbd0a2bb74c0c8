"""Online Normalization in Triton kernels: each pass is four or five launches.

`online_coefficients` and `online_passes` are the definition.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
from torch import Tensor

from normlab.norms import engine_triton, passes
from normlab.norms.following import Following
from normlab.norms.once import differentiable_once
from normlab.norms.typed_bases import Function

_Pair = Tuple[Tensor, Tensor]


def serves(x: Tensor) -> bool:
    """Return whether the kernels are loaded and support *x*; their statistics are in float32."""
    return x.dtype != torch.float64 and engine_triton.kernels_for(x) is not None


def keep(states: _Pair, new: _Pair, skipped: Optional[Tensor] = None, members: int = 1) -> bool:
    """
    Set *states* to *new*, (C,) each, by kernels, or return false if there are none for them.

    Args:
        skipped: counts the members with values that are not finite; these keep their states.
        members: whose channels are side by side.
    """
    kernels = engine_triton.kernels_for(new[0])
    if kernels is None:
        return False
    if not all(t.dtype == torch.float32 and t.is_contiguous() for t in (*states, *new)):
        return False
    kernels.keep(states, new, skipped, members)
    return True


class Normalize(Function):
    """Compute the same as `online_passes.Normalize`, from the data in their own precision."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor], layer: Any
    ) -> Tensor:
        """Normalize, and update the layer's mu and var."""
        kernels = ctx.kernels = engine_triton.kernels_for(x)
        o = layer.options
        rows = kernels.dense(x)
        n, c, d = passes.sizes(x)
        moments = (rows, None) if d == 1 else kernels.moments(rows, n, c)
        affine = _dense(weight, bias)
        f, after = kernels.scan_statistics(*moments, _dense(*layer.start()), *affine, o)
        if o.group_size is not None:
            f = kernels.scale_layers(f, *affine, o)
        layer.move(*after)
        limit = None if o.clamp is None else f.inv.new_full((1,), o.clamp)
        y: Tensor = kernels.affine(rows, f.scale, f.shift, f.before, _following(limit))
        ctx.control = layer.u, layer.v
        ctx.layer, ctx.turn = layer, layer.open_turn() if any(ctx.needs_input_grad) else None
        ctx.save_for_backward(x, weight, bias, limit, *f)
        return y

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, g: Tensor) -> Any:
        """Return the controlled gradients, and update the layer's u and v."""
        kernels, layer = ctx.kernels, ctx.layer
        x, weight, bias, limit, *saved = ctx.saved_tensors
        layer.take_turn(ctx.turn)
        f, following = kernels.Scanned(*saved), _following(limit)
        rows, d = kernels.dense(x), passes.positions(x)
        of_map = (f.before, following, f.scale, f.shift)
        sums = kernels.two_dots(g, rows, *of_map)[:2]
        given = (f, sums, *_dense(weight, bias), layer.options, d)
        shrink = None if f.factor is None else kernels.scaling_slopes(*given)
        back = kernels.control(*given, _dense(*ctx.control), shrink)
        layer.move_control(ctx.control, back.u, back.v)
        gx = None
        if ctx.needs_input_grad[0]:
            of_moments = (back.of_var, f.scale, back.of_mean, f.before)
            gx = kernels.combine(rows, g, *of_moments, following, f.shift)
        return (
            gx,
            None if weight is None else back.d_weight.to(weight.dtype),
            None if bias is None else back.d_bias.to(bias.dtype),
            None,
        )


def _dense(*tensors: Optional[Tensor]) -> Tuple[Any, ...]:
    return tuple(t if t is None else t.contiguous() for t in tensors)


def _following(limit: Optional[Tensor]) -> Optional[Following]:
    return None if limit is None else Following(limit=limit)
