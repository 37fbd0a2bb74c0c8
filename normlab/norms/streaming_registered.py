"""The gradient's streaming as a registered operator: see `registered`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from normlab.norms import registered
from normlab.norms.finite import count_if, finiteness, keep, read


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
    shares = share_of_short(closed, share, short)
    streamed: Tensor = shares * recent + (1 - shares) * long
    finite = finiteness(used, recent)
    keep(short, recent, finite)
    count_if(finite, count)
    return streamed.to(now.dtype)


def share_of_short(closed: Tensor, share: float, like: Tensor) -> Any:
    """Return the share of the short term: *share*, and 1 where no term is *closed* yet."""
    begun = read(closed > 0)
    if isinstance(begun, bool):
        return share if begun else 1.0
    one = torch.ones_like(like[0, 0])
    return torch.where(begun, one * share, one)


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
