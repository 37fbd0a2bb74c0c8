"""The gradient's streaming as a registered operator: see `registered`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from normlab.norms import registered
from normlab.norms.finite import are_finite


def stream(layer: Any, now: Tensor, used: Tensor) -> Tensor:
    """Return *used*; its gradient goes to *now*, streamed as *layer* does in training."""
    registered.check(layer)
    found: Tensor = registered.operator("streamed")(now, used, *layer.gradient_state())
    return found


def take_in(
    now: Tensor,
    used: Tensor,
    short: Tensor,
    long: Tensor,
    count: Tensor,
    closed: Tensor,
    share: float,
) -> Tensor:
    """
    Take a gradient of the statistics into *short* and *count*, and return the one to use instead.

    One that is not finite is used, so that a gradient scaler sees it, and not kept; nor is one of
    statistics that were not finite.

    Args:
        now: the gradient, (2, C).
        used: the statistics, (2, C).
        closed: short terms that are in the long one; before the first, *short* counts alone.
        share: of the short term.
    """
    seen = count.to(short.dtype)
    recent = (short * seen + now) / (seen + 1)
    shares = torch.where(closed > 0, share, 1.0).to(short.dtype)
    streamed = shares * recent + (1 - shares) * long
    finite = are_finite(used) & are_finite(recent)
    short.copy_(torch.where(finite, recent.to(short.dtype), short))
    count.add_(finite.to(torch.long))
    return streamed.to(now.dtype)


def _keep(ctx: Any, inputs: Any, output: Tensor) -> None:
    _, used, *ctx.state = inputs  # as it will be then: other backward passes may come before
    ctx.save_for_backward(used)


def _differentiate(ctx: Any, g: Tensor) -> Any:
    (used,) = ctx.saved_tensors
    return (registered.operator("stream_gradient")(g, used, *ctx.state), *[None] * 6)


registered.register(
    "streamed(Tensor now, Tensor used, Tensor short, Tensor long, Tensor count, Tensor closed, "
    "float share) -> Tensor",
    lambda now, used, *state: used.clone(),
    lambda now, used, *state: torch.empty_like(used),
)
registered.register(
    "stream_gradient(Tensor now, Tensor used, Tensor(a!) short, Tensor long, Tensor(b!) count, "
    "Tensor closed, float share) -> Tensor",
    take_in,
    lambda now, *others: torch.empty_like(now),
)
registered.differentiate("streamed", _differentiate, _keep)
