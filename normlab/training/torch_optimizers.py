"""PyTorch's optimizers in their fastest form for the parameters that they are given."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

import torch
from torch import Tensor

_MOMENTUM = "momentum_buffer"  # torch's own name, so that checkpoints of both fit
Groups = List[Dict[str, Any]]
_torch: Any = torch  # torch's annotations do not contain the operator


class FusedSGD(torch.optim.SGD):
    """
    `torch.optim.SGD` for dense parameters on a CPU, without dampening, in one operator per group.

    torch's own step sorts and checks its lists of tensors again at every update, which takes longer
    than the operator itself for a small network. The numbers are the same, bit for bit, and the
    state is that of torch's own, as are the hooks.
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


def sgd(params: Groups, lr: float, momentum: float, nesterov: bool) -> torch.optim.Optimizer:
    """Make stochastic gradient descent."""
    form = _form(params)
    made = FusedSGD if "fused" in form else torch.optim.SGD
    return made(params, lr, momentum, nesterov=nesterov, **form)


def adamw(
    params: Groups, lr: float, beta1: float, beta2: float, eps: float
) -> torch.optim.Optimizer:
    """Make AdamW."""
    return torch.optim.AdamW(params, lr, betas=(beta1, beta2), eps=eps, **_form(params))


def rmsprop(
    params: Groups, lr: float, alpha: float, momentum: float, eps: float
) -> torch.optim.Optimizer:
    """Make RMSprop, which has no fused form."""
    return torch.optim.RMSprop(params, lr, alpha, eps, 0, momentum, foreach=True)


def _form(params: Groups) -> Dict[str, bool]:
    """
    Choose how an update is computed: fused, or on lists of tensors (torch's "foreach").

    A small network's update is mostly overhead, so on a CPU the fused form is used if there is one:
    since torch 2.4, which can also count versions. CUDA's graphs were made for lists, and SGD on
    distributed tensors has no fused form.
    """
    all_of_them = [p for group in params for p in group["params"]]
    on_cpu = all(p.device.type == "cpu" for p in all_of_them)
    counts = hasattr(torch.autograd.graph, "increment_version")
    divided = any(hasattr(p, "full_tensor") for p in all_of_them)  # divided among replicas
    return {"fused": True} if on_cpu and counts and not divided else {"foreach": True}
