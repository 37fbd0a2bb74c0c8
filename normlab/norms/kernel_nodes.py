"""An autograd node around kernels; its second derivative is that of the definition."""

from __future__ import annotations

from typing import Any, Callable, Optional, Sequence, Tuple

import torch
from torch import Tensor
from typing_extensions import Protocol

from normlab.norms import engine_triton
from normlab.norms.once import gradients_again
from normlab.norms.typed_bases import Function

Gradients = Tuple[Optional[Tensor], ...]


class Fused(Protocol):
    """A function y of tensors, any of which may be None, in kernels."""

    @property
    def plain(self) -> Callable[..., Tensor]:
        """The definition of y, in plain operators."""

    def forward(self, *given: Any) -> Tuple[Tensor, Sequence[Tensor]]:
        """Return y, and tensors that the backward pass needs beside the *given* ones."""

    def backward(self, g: Tensor, given: Any, kept: Any, of_first: bool) -> Gradients:
        """Return the gradients of the *given* tensors; the first may be None unless *of_first*."""


def kernels_for(x: Tensor, plain: bool) -> Any:
    """Return Triton's kernels if they are loaded and support *x*, but not float64; else None."""
    return None if plain or x.dtype == torch.float64 else engine_triton.kernels_for(x)


def apply(fused: Fused, x: Tensor, *parameters: Optional[Tensor]) -> Tensor:
    """Return y of *x* and, in float32, of *parameters*."""
    wide = [None if t is None else t.to(torch.float32).contiguous() for t in parameters]
    y: Tensor = _Node.apply(fused, x, *wide)
    return y


class _Node(Function):
    @staticmethod
    def forward(ctx: Any, fused: Fused, *given: Optional[Tensor]) -> Tensor:
        y, kept = fused.forward(*given)
        ctx.fused, ctx.count = fused, len(given)
        ctx.save_for_backward(*given, *kept)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        saved = ctx.saved_tensors  # once, because a checkpoint unpacks each tensor once
        given, kept = saved[: ctx.count], saved[ctx.count :]
        needed = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            return (None, *gradients_again(lambda *t: [ctx.fused.plain(*t)], given, [g], needed))
        found = ctx.fused.backward(g, given, kept, needed[0])
        return (None, *(t if need else None for t, need in zip(found, needed)))
