"""Read a model, or experiment with it, without changing it."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, Mapping

import torch
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put *model* into evaluation mode without gradients; restore modes and random numbers."""
    with torch.no_grad(), unturned(model):
        model.eval()
        yield


@contextmanager
def unturned(model: nn.Module) -> Iterator[None]:
    """Restore the modes of *model* and torch's random numbers afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.random.fork_rng(devices=_cuda_devices(model)):
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def hooked(modules: Mapping[str, nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    """
    Call *hook* after each forward of *modules*, until the context ends.

    Args:
        hook: gets the module's name, its arguments as a tuple and its output; what it returns
            takes the output's place, unless that is None.
    """
    handles = [
        module.register_forward_hook(lambda _m, x, out, name=name: hook(name, x, out))
        for name, module in modules.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replica(model: nn.Module) -> Iterator[nn.Module]:
    """
    Give a copy of *model*, in its mode, to do anything with; restore random numbers afterwards.

    A copy, and not the model put back afterwards: some normalizers keep state that no
    state dict has, such as whose backward is next.
    """
    with torch.random.fork_rng(devices=_cuda_devices(model)):
        twin = copy.deepcopy(model)
        twin.zero_grad(set_to_none=True)
        yield twin


def _cuda_devices(model: nn.Module) -> List[int]:
    return sorted({p.device.index or 0 for p in model.parameters() if p.is_cuda})
