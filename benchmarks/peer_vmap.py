"""The peer: `torch.func.vmap` over the networks of a pack, with one of torch's fused optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

WITHOUT = ("online", "streaming")  # whose backward pass changes state
_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adamw": torch.optim.AdamW,
}
_OPTIONS: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9}, "adamw": {"weight_decay": 0.0}}


def mapped(
    nets: Sequence[nn.Module], x: Tensor, y: Tensor, optimizer: str, rate: float
) -> Callable[[], None]:
    """Return an update of all *nets* from *x* (S, N, C, H, W) and *y* (S, N)."""
    parameters, buffers = stack_module_state(list(nets))
    weights = list(parameters.values())
    updates = _OPTIMIZERS[optimizer](weights, rate, fused=True, **_OPTIONS[optimizer])
    one = vmap(lambda p, b, x, y: F.cross_entropy(functional_call(nets[0], (p, b), (x,)), y))

    def step() -> None:
        updates.zero_grad(set_to_none=True)
        one(parameters, buffers, x, y).sum().backward()
        updates.step()

    return step
