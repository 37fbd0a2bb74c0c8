"""The training of a small network that tests a layer, with a record of all its results."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, Tuple

import torch
from torch import Tensor, nn

Record = Dict[str, Tensor]
Call = Callable[[Tensor], Tensor]


class Broken(Exception):
    """A layer breaks a law; the message says how."""


STEPS = 2
BATCH = (4, 3, 5, 3)
CHANNELS = 8


def data(like: nn.Module) -> Iterator[Tuple[Tensor, Tensor]]:
    """Yield inputs, and factors for the outputs, in the dtype of a network."""
    generator = torch.Generator().manual_seed(5)
    dtype = next(like.parameters()).dtype
    for _ in range(STEPS):
        x = torch.randn(BATCH, generator=generator, dtype=torch.float64)
        c = torch.randn(4, CHANNELS, 5, 3, generator=generator, dtype=torch.float64)
        yield x.to(dtype), c.to(dtype)


def train(net: nn.Module, call: Call, accumulate: int = 1, penalty: float = 0.0) -> Record:
    """Train *net* with *call*; record outputs, gradients and the final state."""
    found: Record = {}
    for step, (x, c) in enumerate(data(net)):
        x.requires_grad_()
        for _ in range(accumulate):
            y = call(x)
            loss = (y * c).sum()
            if penalty:
                (gx,) = torch.autograd.grad(loss, x, create_graph=True)
                loss = loss + penalty * gx.square().sum()
            torch.autograd.backward(loss)
        found[f"y{step}"], found[f"gx{step}"] = y.detach(), some(x.grad)
        update(net, found, step)
    found.update({name: b.clone() for name, b in net.named_buffers() if name in net.state_dict()})
    return found


def some(gradient: Any) -> Tensor:
    """Return *gradient*, which must not be None."""
    if gradient is None:
        raise Broken("no gradient reaches the modules before the layer")
    found: Tensor = gradient.clone()
    return found


@torch.no_grad()
def update(net: nn.Module, found: Record, step: int) -> None:
    """Record the gradients of the parameters, and change the parameters with them."""
    for name, p in net.named_parameters():
        if p.grad is not None:
            found[f"{name} {step}"] = p.grad.clone()
            p.sub_(0.01 * p.grad / (1 + p.grad.abs().max()))
            p.grad = None
