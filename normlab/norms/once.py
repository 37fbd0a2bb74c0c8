"""Gradients that can be differentiated again, or that refuse this with our own error."""

from __future__ import annotations

from functools import wraps
from typing import Any, Callable, Optional, Sequence, Tuple

import torch
from torch import Tensor

from normlab.errors import InvalidSpec
from normlab.norms.typed_bases import Function


def gradients_again(
    function: Callable[..., Sequence[Tensor]],
    inputs: Sequence[Optional[Tensor]],
    g: Sequence[Tensor],
    needed: Sequence[bool],
) -> Tuple[Optional[Tensor], ...]:
    """
    Return the gradients of the *needed* ones of *inputs*, which can be differentiated again.

    Args:
        function: returns the outputs, whose gradients are *g*, for *inputs*.
    """
    # Aliases, because one input may depend on another, as x does on the weight of a layer that is
    # called twice. The gradient of the weight would include this path, which is not its own.
    aliases = [None if t is None else t.view_as(t) for t in inputs]
    outputs = function(*aliases)
    places = [i for i, need in enumerate(needed) if need]
    wanted: Any = [aliases[i] for i in places]
    reached = [(y, of_y) for y, of_y in zip(outputs, g) if y.requires_grad]  # others are constant
    ys, of_ys = zip(*reached)
    found = torch.autograd.grad(ys, wanted, of_ys, create_graph=True, allow_unused=True)
    gradients = dict(zip(places, found))
    return tuple(gradients.get(i) for i in range(len(inputs)))


def differentiable_once(backward: Callable[..., Tuple[Any, ...]]) -> Callable[..., Tuple[Any, ...]]:
    """Make the gradients that *backward* returns refuse a second derivative."""

    @wraps(backward)
    def run(ctx: Any, *g: Tensor) -> Tuple[Any, ...]:
        if not torch.is_grad_enabled():  # no create_graph: no second derivative
            return backward(ctx, *g)
        with torch.no_grad():
            found = backward(ctx, *g)
        return tuple(t if t is None else _Refused.apply(t, *g) for t in found)

    return run


class _Refused(Function):
    @staticmethod
    def forward(ctx: Any, found: Tensor, *g: Tensor) -> Tensor:
        return found.clone()

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> Any:
        raise InvalidSpec(
            "a second derivative was asked for through a training step of 'online' or 'streaming', "
            "whose backward changes state and is not a derivative of the forward: put the layer in "
            "evaluation (model.eval()), or choose a kind such as 'batch' or 'group'"
        )
