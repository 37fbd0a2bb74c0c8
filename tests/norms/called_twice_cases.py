"""Gradients of a layer that a network calls twice, so that its input depends on its parameters."""

from __future__ import annotations

from typing import List

import torch
from torch import Tensor

from normlab.norms import engine_triton
from tests.norms.kernel_cases import CHANNELS, Case, layer_of

SHAPE = (4, CHANNELS, 3, 2)


def largest_difference(
    kind: str, kernels: bool, dtype: torch.dtype = torch.float64, evaluates: bool = False
) -> float:
    """
    Return how far gradients that can be differentiated again are from those that cannot.

    The result is relative to the largest value of each gradient.

    Args:
        evaluates: whether the layer is put in evaluation before the latter.
    """
    with engine_triton.triton_kernels(kernels, "cpu"):
        once = _gradients(kind, dtype, False)
        again = _gradients(kind, dtype, True, evaluates)
    return max(_difference(a, b) for a, b in zip(again, once))


def _gradients(
    kind: str, dtype: torch.dtype, create_graph: bool, evaluates: bool = False
) -> List[Tensor]:
    layer = layer_of(Case(kind, SHAPE)).to(dtype)
    torch.manual_seed(2)
    x, weights = (torch.randn(SHAPE, dtype=dtype) for _ in range(2))
    x.requires_grad_()
    # channels are mixed, because most kinds do not see the scale of a channel
    y = layer(layer(x).roll(1, 1) + x)
    layer.train(not evaluates)
    learned = [x, *(p for p in layer.parameters() if p.requires_grad)]
    grads = torch.autograd.grad(
        (y * weights).sum(), learned, create_graph=create_graph, allow_unused=True
    )
    return [torch.zeros_like(t) if g is None else g.detach() for g, t in zip(grads, learned)]


def after_an_update(kind: str) -> float:
    """
    Return how far second derivatives of an evaluation move if the layer trains before they are
    computed: one on the Triton kernels, against the definition without an update.
    """
    with engine_triton.triton_kernels(True, "cpu"):
        found = _second_derivatives(kind, updates=True)
    return max(map(_difference, found, _second_derivatives(kind, updates=False)))


def _second_derivatives(kind: str, updates: bool) -> List[Tensor]:
    layer = layer_of(Case(kind, SHAPE, training=False))
    torch.manual_seed(2)
    x, weights, other = (torch.randn(SHAPE) for _ in range(3))
    x.requires_grad_()
    y = layer(x)
    if updates:
        with torch.no_grad():
            layer.train()(3 * other + 1)
        layer.eval()
    learned = [x, *(p for p in layer.parameters() if p.requires_grad)]
    once = torch.autograd.grad(
        (y.square() * weights).sum(), learned, create_graph=True, allow_unused=True
    )
    total = sum((g.square().sum() for g in once if g is not None), torch.zeros(()))
    found = torch.autograd.grad(total, learned, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for g, t in zip(found, learned)]


def _difference(found: Tensor, right: Tensor) -> float:
    if right.numel() == 0:
        return 0.0
    return float((found - right).abs().max() / right.abs().max().clamp_min(1e-3))
