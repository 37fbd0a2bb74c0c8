"""LAMB: Adam whose step in each tensor is as long as the tensor's weights."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

import torch
from torch import Tensor


class Lamb(torch.optim.Optimizer):
    """
    Layer-wise adaptive moments for large batches.

    m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2,
    u = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay w,
    w <- w - lr r u, with r = ||w|| / ||u||, and r = 1 where one of them is 0.

    Args:
        adapt_all: whether tensors without weight decay use this r too; otherwise their r is 1.

    Source:
        You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes",
        arXiv:1904.00962, algorithm 2 with the identity as phi. The rule that tensors without weight
        decay take Adam's step comes from NVIDIA's and timm's implementations, not from the paper.
        These also clip the whole gradient to a norm of 1; here `clip_norm` does that.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        adapt_all: bool = False,
    ) -> None:
        options = {"beta1": beta1, "beta2": beta2, "eps": eps, "adapt_all": adapt_all}
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, **options, "updates": 0})

    @torch.no_grad()
    def step(self, closure: Optional[Callable[[], float]] = None) -> None:  # type: ignore[override]
        """Make an update from the existing gradients; *closure* is not used."""
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if weights:
                group["updates"] += 1
                self._update(group, weights)

    def _update(self, group: Dict[str, Any], weights: List[Tensor]) -> None:
        directions = self._directions(group, weights)
        decay = group["weight_decay"]
        if decay:
            torch._foreach_add_(directions, weights, alpha=decay)
        if decay or group["adapt_all"]:
            for w, direction in zip(weights, directions):
                direction.mul_(_ratio(w, direction))
        torch._foreach_add_(weights, directions, alpha=-group["lr"])

    def _directions(self, group: Dict[str, Any], weights: List[Tensor]) -> List[Tensor]:
        """Update the moments, and return Adam's steps for a rate of 1."""
        gradients = [w.grad for w in weights if w.grad is not None]
        means = [self._moment(w, "mean") for w in weights]
        squares = [self._moment(w, "square") for w in weights]
        beta1, beta2, t = group["beta1"], group["beta2"], group["updates"]
        torch._foreach_mul_(means, beta1)
        torch._foreach_add_(means, gradients, alpha=1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, (1 - beta2**t) ** 0.5)
        torch._foreach_add_(roots, group["eps"])
        directions = torch._foreach_div(means, 1 - beta1**t)
        torch._foreach_div_(directions, roots)
        return list(directions)

    def _moment(self, weight: Tensor, name: str) -> Tensor:
        state: Dict[str, Tensor] = self.state[weight]
        if name not in state:
            state[name] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        return state[name]


def _ratio(weight: Tensor, direction: Tensor) -> Tensor:
    ours, theirs = torch.linalg.vector_norm(weight), torch.linalg.vector_norm(direction)
    known = (ours > 0) & (theirs > 0)
    return torch.where(known, ours / theirs, torch.ones_like(ours))
