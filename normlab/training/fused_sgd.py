"""Stochastic gradient descent in one operator for each group of parameters.

torch's own step sorts and checks its lists of tensors anew at every update, which takes longer than
the operator itself for a small network. The numbers are the same, bit for bit.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

import torch
from torch import Tensor

_MOMENTUM = "momentum_buffer"  # torch's own name, so that checkpoints of both fit

_torch: Any = torch  # its annotations leave the operator out


class FusedSGD(torch.optim.SGD):
    """
    `torch.optim.SGD` for dense parameters on a CPU, without dampening.

    Its state is that of torch's own, as are its hooks.
    """

    def step(self, closure: Optional[Callable[[], Any]] = None) -> Any:
        """Update every parameter that has a gradient."""
        loss: Any = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                self._update(group)
        return loss

    def _update(self, group: Dict[str, Any]) -> None:
        params: List[Tensor] = [p for p in group["params"] if p.grad is not None]
        if not group["momentum"]:
            _apply(group, params, [], first=False)
            return
        known: List[Tensor] = []
        new: List[Tensor] = []
        for p in params:
            (known if _MOMENTUM in self.state[p] else new).append(p)
        _apply(group, known, [self.state[p][_MOMENTUM] for p in known], first=False)
        for p in new:
            self.state[p][_MOMENTUM] = torch.empty_like(p)
        _apply(group, new, [self.state[p][_MOMENTUM] for p in new], first=True)


def _apply(group: Dict[str, Any], params: List[Tensor], momenta: List[Tensor], first: bool) -> None:
    if params:
        _torch._fused_sgd_(
            params,
            [p.grad for p in params],
            momenta,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=group["nesterov"],
            maximize=False,
            is_first_step=first,
        )
