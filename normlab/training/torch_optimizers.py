"""PyTorch's optimizers in their fastest form for the parameters that they are given."""

from __future__ import annotations

from typing import Any, Dict, List

import torch

from normlab.training.fused_sgd import FusedSGD

Groups = List[Dict[str, Any]]


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

    A small network's update is mostly overhead, so on a CPU the fused form is used where there
    is one: since torch 2.4, as is the counting of versions. CUDA's graphs were made for lists,
    and SGD on distributed tensors has no fused form.
    """
    all_of_them = [p for group in params for p in group["params"]]
    on_cpu = all(p.device.type == "cpu" for p in all_of_them)
    counts = hasattr(torch.autograd.graph, "increment_version")
    divided = any(hasattr(p, "full_tensor") for p in all_of_them)  # among replicas
    return {"fused": True} if on_cpu and counts and not divided else {"foreach": True}
