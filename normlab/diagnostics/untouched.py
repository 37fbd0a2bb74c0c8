"""Look at a model without leaving a trace: state, mode and random numbers as before."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

import torch
from torch import nn


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """
    Put everything back on leaving: parameters, buffers, gradients, modes, random states.

    Tensors are copied back in place, so optimizers and captured graphs keep what they hold;
    state that a module keeps outside its parameters and buffers goes through
    `get_extra_state` where it has one.
    """
    tensors = [*model.parameters(), *model.buffers()]
    before = [t.detach().clone() for t in tensors]
    gradients = [(p, p.grad) for p in model.parameters()]
    modes = [(m, m.training) for m in model.modules()]
    extra = {n: m.get_extra_state() for n, m in model.named_modules() if _has_extra_state(m)}
    for parameter, _ in gradients:
        parameter.grad = None
    devices = sorted({t.device.index or 0 for t in tensors if t.is_cuda})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        with torch.no_grad():
            for tensor, old in zip(tensors, before):
                tensor.copy_(old)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for module, training in modes:
            module.training = training
        for name, module in model.named_modules():
            if name in extra:
                module.set_extra_state(extra[name])


def _has_extra_state(module: nn.Module) -> bool:
    return type(module).get_extra_state is not nn.Module.get_extra_state
