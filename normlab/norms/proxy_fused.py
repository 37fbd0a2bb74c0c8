"""What the proxy of an activation gives to the norm before it, in Triton kernels; see `proxy`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Callable, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from normlab.norms.once import gradients_again
from normlab.norms.typed_bases import Function

Plain = Callable[..., Tuple[Tensor, Tensor]]
RuleOf = Callable[[str, Tensor], Tuple[Tensor, Tensor]]


class Proxied(NamedTuple):
    """How to compute the terms of a proxy."""

    activation: str
    quadrature: Optional[str]  # None is the closed form, for ReLU
    eps: float
    plain: Plain  # (weight, bias, proxy_weight, proxy_bias) -> m and 1 / sqrt(s2 + eps)
    rule: RuleOf  # of a quadrature, nodes and masses (K, 1)

    def is_folded(self) -> bool:
        """Return whether the activation is a maximum, which the norm's affine can prepare."""
        return self.activation == "relu"

    def plain_terms(self, *parameters: Tensor) -> Tuple[Tensor, ...]:
        """Return the result of `terms`, in plain operators."""
        mean, inverse = self.plain(*parameters)
        floor = -mean * inverse
        if not self.is_folded():
            return inverse, floor
        return parameters[0] * inverse, parameters[1] * inverse + floor, floor


def terms(kernels: Any, proxied: Proxied, *parameters: Tensor) -> Tuple[Tensor, ...]:
    """
    Return what the norm's map takes, (C,) each, in one launch, and one for the gradients.

    These are the scale and the shift after the activation, 1 / sqrt(s2 + eps) and -m times it; or,
    if it is ReLU, a weight and a bias for the norm, and the floor in place of the activation.
    """
    found: Tuple[Tensor, ...] = _Terms.apply(kernels, proxied, *parameters)
    return found


class _Terms(Function):
    @staticmethod
    def forward(ctx: Any, kernels: Any, proxied: Proxied, *parameters: Tensor) -> Tuple[Any, ...]:
        ctx.kernels, ctx.proxied = kernels, proxied
        ctx.save_for_backward(*parameters)
        rule, folded = _rule_on(proxied, parameters[0].device), proxied.is_folded()
        rows = kernels.proxied(parameters, proxied.activation, rule, proxied.eps, folded)
        found: Tuple[Any, ...] = rows.unbind() if folded else rows[1:].unbind()
        return found

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> Any:
        proxied, parameters = ctx.proxied, ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again
            needed = ctx.needs_input_grad[2:]
            return (None, None, *gradients_again(proxied.plain_terms, parameters, g, needed))
        rule, folded = _rule_on(proxied, parameters[0].device), proxied.is_folded()
        given = [t.contiguous() for t in (g if folded else (g[0], *g))]
        grads = ctx.kernels.proxied_slopes(
            parameters, given, proxied.activation, rule, proxied.eps, folded
        )
        return (None, None, *grads)


def _rule_on(proxied: Proxied, device: torch.device) -> Optional[Tuple[Tensor, Tensor]]:
    if proxied.quadrature is None:
        return None
    return _rule(proxied.rule, proxied.quadrature, device)


@lru_cache(maxsize=None)
def _rule(rule: RuleOf, quadrature: str, device: torch.device) -> Tuple[Tensor, Tensor]:
    # cached, because a recording of a step must not copy from the host
    nodes, masses = rule(quadrature, torch.zeros(1, dtype=torch.float32, device=device))
    return nodes.reshape(-1).contiguous(), masses.reshape(-1).contiguous()
