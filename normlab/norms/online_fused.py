"""Online Normalization in C++ loops (see `compiled`).

`online_coefficients` and `online_passes` are the definition.
"""

from __future__ import annotations

import math
from typing import Any, List, Optional, Tuple

from torch import Tensor

from normlab.norms import compiled, passes
from normlab.norms.once import differentiable_once
from normlab.norms.online_coefficients import OnlineOptions
from normlab.norms.online_passes import rows_of
from normlab.norms.typed_bases import Function

_kernels: List[Any] = []  # empty until `load`


def load(build_directory: Optional[str] = None) -> None:
    """
    Compile the C++ loop, and use it for layers on a CPU in this process from now on.

    Args:
        build_directory: folder for the compiled library; None is torch's cache.

    Raises:
        DeviceUnavailable: there is no compiler, or it fails.
    """
    if not _kernels:
        _kernels.append(compiled.load("normlab_online", ["online_fused.cpp"], build_directory))


def is_loaded() -> bool:
    """Return whether this process uses the loops."""
    return bool(_kernels)


def unload() -> None:
    """Use torch's operators again."""
    _kernels.clear()


def serves(x: Tensor) -> bool:
    """Return whether the loop is loaded and supports *x*."""
    return bool(_kernels) and x.device.type == "cpu"


class Normalize(Function):
    """Compute the same as `online_passes.Normalize`, but keep only the moments for backward."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor], layer: Any
    ) -> Tensor:
        """Normalize, and update the layer's mu and var."""
        rows = rows_of(x)
        mu, var = (state.clone() for state in layer.start())  # changed in place
        y, moments, new_mu, new_var = _kernels[0].forward(
            rows, mu, var, *_like(rows, weight, bias), *_numbers(layer.options)
        )
        layer.move(new_mu, new_var)
        ctx.control = layer.u, layer.v
        ctx.layer, ctx.turn = layer, layer.open_turn() if any(ctx.needs_input_grad) else None
        ctx.save_for_backward(x, weight, bias, moments, mu, var)
        return passes.like(passes.reshaped(y, x).to(x.dtype), x)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, g: Tensor) -> Any:
        """Return the controlled gradients, and update the layer's u and v."""
        layer = ctx.layer
        x, weight, bias, *kept = ctx.saved_tensors
        layer.take_turn(ctx.turn)
        rows = rows_of(x)
        control = _like(rows, *ctx.control, weight, bias)
        gx, d_weight, d_bias, u, v = _kernels[0].backward(
            rows, rows_of(g), *kept, *control, *_numbers(layer.options)
        )
        layer.move_control(ctx.control, u, v)
        return (
            passes.like(gx.view(x.shape).to(x.dtype), x),
            None if weight is None else d_weight.to(weight.dtype),
            None if bias is None else d_bias.to(bias.dtype),
            None,
        )


def _like(rows: Tensor, *tensors: Optional[Tensor]) -> List[Optional[Tensor]]:
    return [t if t is None or t.dtype == rows.dtype else t.to(rows.dtype) for t in tensors]


def _numbers(o: OnlineOptions) -> Tuple[List[float], int]:
    limit = math.inf if o.clamp is None else o.clamp
    return [o.alpha_forward, o.alpha_backward, o.eps, o.scaling_eps, limit], o.group_size or 0
