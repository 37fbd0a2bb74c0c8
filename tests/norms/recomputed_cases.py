"""Two training steps on the Triton kernels, inside an activation checkpoint and without one."""

from __future__ import annotations

from typing import Any, Dict

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from normlab.norms import engine_triton
from tests.norms.kernel_cases import CHANNELS, Case, layer_of

SHAPE = (4, CHANNELS, 3, 2)


def unlike(kind: str, reentrant: bool) -> Dict[str, float]:
    """Return the results that a checkpoint changes, with the largest difference."""
    with engine_triton.triton_kernels(True, "cpu"):
        right, found = _steps(kind), _steps(kind, use_reentrant=reentrant)
    assert right.keys() == found.keys()
    pairs = {name: (found[name].detach(), t.detach()) for name, t in right.items()}
    return {n: float((a - b).abs().max()) for n, (a, b) in pairs.items() if not torch.equal(a, b)}


def _steps(kind: str, **how: bool) -> Dict[str, Tensor]:
    layer = layer_of(Case(kind, SHAPE))
    found: Dict[str, Any] = {}
    torch.manual_seed(2)
    for step in range(2):
        x, g = (torch.randn(SHAPE, device="cpu") for _ in range(2))
        x.requires_grad_()
        y = checkpoint(layer, x * 2, **how) if how else layer(x * 2)
        y.backward(g)
        found.update({f"y{step}": y, f"gx{step}": x.grad})
    found.update({f"d {name}": p.grad for name, p in layer.named_parameters()})
    return {**found, **{name: t.clone() for name, t in layer.named_buffers()}}
