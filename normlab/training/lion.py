"""Lion: the sign of a mean of gradients."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

import torch
from torch import Tensor


class Lion(torch.optim.Optimizer):
    """
    Evolved sign momentum.

    w <- w - lr (sign(b1 m + (1 - b1) g) + weight_decay w), then m = b2 m + (1 - b2) g.

    Source:
        Chen et al., "Symbolic Discovery of Optimization Algorithms", arXiv:2302.06675,
        algorithm 2.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        beta1: float = 0.9,
        beta2: float = 0.99,
        weight_decay: float = 0.0,
    ) -> None:
        options = {"beta1": beta1, "beta2": beta2, "weight_decay": weight_decay}
        super().__init__(params, {"lr": lr, **options})

    @torch.no_grad()
    def step(self, closure: Optional[Callable[[], float]] = None) -> None:  # type: ignore[override]
        """Make an update from the existing gradients; *closure* is not used."""
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if weights:
                self._update(group, weights)

    def _update(self, group: Dict[str, Any], weights: List[Tensor]) -> None:
        gradients = [w.grad for w in weights if w.grad is not None]
        means = [self._mean(w) for w in weights]
        steps = torch._foreach_mul(means, group["beta1"])
        torch._foreach_add_(steps, gradients, alpha=1 - group["beta1"])
        for step in steps:
            step.sign_()
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, steps, alpha=-group["lr"])
        torch._foreach_mul_(means, group["beta2"])
        torch._foreach_add_(means, gradients, alpha=1 - group["beta2"])

    def _mean(self, weight: Tensor) -> Tensor:
        state: Dict[str, Tensor] = self.state[weight]
        if "mean" not in state:
            state["mean"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        return state["mean"]
