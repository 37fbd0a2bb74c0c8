"""Two models of one architecture: one after another, and at once by vmap."""

from __future__ import annotations

import copy
from typing import Any, Callable, Tuple

import torch
from torch import nn

from normlab.laws.small_trainings import Record, data


def each(net: nn.Module) -> Record:
    """Both models of the batch, one after another."""
    nets = models(net)
    found = [gradients_of(n) for n in nets]
    return {name: torch.stack([f[name] for f in found]) for name in found[0]}


def models(net: nn.Module) -> Tuple[nn.Module, nn.Module]:
    """Return *net*, and a copy with other weights."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.25)
    return net, other


def gradients_of(net: nn.Module) -> Record:
    """Return output and gradients of one step of *net*, and its final state."""
    x, c = next(data(net))
    y = net(x)
    (y * c).sum().backward()
    zero = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    grads = {n: zero[n] if p.grad is None else p.grad for n, p in net.named_parameters()}
    state = {name: b.clone() for name, b in net.named_buffers() if name in net.state_dict()}
    return {"y": y.detach(), **grads, **state}


def vmapped(net: nn.Module, made: Callable[[Any], Any] = lambda step: step) -> Record:
    """Two models at once, by vmap; *made* may compile the step."""
    nets = models(net)
    x, c = next(data(net))
    parameters, buffers = torch.func.stack_module_state(list(nets))
    skeleton = copy.deepcopy(net)

    def loss(parameters: Any, buffers: Any) -> Any:
        y = torch.func.functional_call(skeleton, (parameters, buffers), (x,))
        return (y * c).sum(), y

    step = made(torch.func.vmap(torch.func.grad(loss, has_aux=True)))
    grads, y = step(parameters, buffers)
    state = {name: b for name, b in buffers.items() if name in net.state_dict()}
    return {"y": y.detach(), **grads, **state}
