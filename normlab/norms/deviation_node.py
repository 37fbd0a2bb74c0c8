"""Norms that divide by a deviation, in a few launches of Triton kernels, forward and backward.

`deviations` is the definition.
"""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Tuple

import torch
from torch import Tensor

from normlab.norms.once import gradients_again
from normlab.norms.passes import like, taken
from normlab.norms.typed_bases import Function

Plain = Callable[[Tensor, Optional[Tensor], Optional[Tensor]], Tensor]


def deviated(
    kernels: Any,
    rule: Any,
    plain: Plain,
    x: Tensor,
    weight: Optional[Tensor],
    bias: Optional[Tensor],
) -> Tuple[Tensor, Tensor, Tensor]:
    """
    Return y, and the mean and the tracked value of each group and channel, (G, C).

    Args:
        kernels: the package of kernels.
        rule: a `Rule` of that package.
        plain: computes y in operators that autograd can differentiate again.
    """
    kept: List[Tensor] = []
    y: Tensor = _Deviated.apply(x, kernels, rule, plain, kept, weight, bias)
    return y, kept[0], kept[-1]


class _Deviated(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kernels: Any,
        rule: Any,
        plain: Plain,
        kept: List[Tensor],
        weight: Optional[Tensor],
        bias: Optional[Tensor],
    ) -> Tensor:
        rows = taken(x)
        found = kernels.deviations(rows, rule, weight, bias)
        ctx.kernels, ctx.rule, ctx.plain = kernels, rule, plain
        ctx.save_for_backward(x, weight, bias, *found)
        kept.extend(found.numbers.unbind())
        mean, scale, shift = _of_samples(found.numbers, rule.samples, x.shape[0])
        return like(kernels.affine(rows, scale, shift, mean), x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight, bias, *found = ctx.saved_tensors
        need = ctx.needs_input_grad
        if torch.is_grad_enabled():  # to be differentiated again
            inputs, needed = (x, weight, bias), (need[0], *need[5:])
            of_x, *of_both = gradients_again(lambda *t: [ctx.plain(*t)], inputs, [g], needed)
            return (of_x, None, None, None, None, *of_both)
        found = ctx.kernels.Deviations(*found)
        rule = ctx.rule
        gx, of_affine = ctx.kernels.deviation_gradients(taken(x), g, rule, found, need[0])
        gx = None if gx is None else like(gx, x)
        of_weight = of_affine[0].to(weight.dtype) if need[5] else None
        of_bias = of_affine[1].to(bias.dtype) if need[6] else None
        return gx, None, None, None, None, of_weight, of_bias


def _of_samples(numbers: Tensor, samples: int, n: int) -> Tuple[Tensor, ...]:
    """Return mean, scale and shift of each sample, (N, C), for those of each group."""
    groups, c = numbers.shape[1:]
    wide = numbers[:3].unsqueeze(2).expand(3, groups, samples, c)
    if groups == 1:
        return wide[:, 0].unbind()
    return wide.reshape(3, n, c).unbind()
