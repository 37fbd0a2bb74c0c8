"""The streaming of gradients as a registered operator (see `registered`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from normlab.norms import registered
from normlab.norms.finite import count_if, finiteness, keep, read


def stream(layer: Any, now: Tensor, used: Tensor) -> Tensor:
    """Return *used*; its gradient goes to *now*, streamed like *layer* in training."""
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
    Add a gradient of the statistics to *short* and *count*; return the gradient to use instead.

    A non-finite gradient is used, so that a gradient scaler sees it, but it is not kept. A gradient
    of non-finite statistics is not kept either.

    Args:
        now: the gradient, (2, C).
        used: the statistics, (2, C).
        closed: the number of short terms in the long term; while it is 0, only *short* is used.
        share: the share of the short term.
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
    """Return the share of the short term: *share*, or 1 if no term is *closed* yet."""
    begun = read(closed > 0)
    if isinstance(begun, bool):
        return share if begun else 1.0
    one = torch.ones_like(like[0, 0])
    return torch.where(begun, one * share, one)


def _keep(ctx: Any, inputs: Any, output: Tensor) -> None:
    _, used, *ctx.state = inputs  # its value then: other backward passes may come before
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
