"""Contexts to read a model, or to experiment with a copy, without changing the model."""

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
    Call *hook* after each forward pass of *modules*, until the context ends.

    Args:
        hook: receives the module's name, its arguments as a tuple, and its output. Its result
            replaces the output, unless it is None.
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
    Yield a copy of *model* in the same mode, for any use; restore random numbers afterwards.

    We do not use and restore the model itself, because some normalizers keep state that is not in
    the state dict, such as which backward is next.
    """
    with torch.random.fork_rng(devices=_cuda_devices(model)):
        twin = copy.deepcopy(model)
        twin.zero_grad(set_to_none=True)
        yield twin


def _cuda_devices(model: nn.Module) -> List[int]:
    return sorted({p.device.index or 0 for p in model.parameters() if p.is_cuda})
