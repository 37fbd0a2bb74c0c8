"""Read a model, or experiment with it, without changing it."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import Iterator, List

import torch
from torch import nn


@contextmanager
def in_use(model: nn.Module) -> Iterator[None]:
    """Put *model* into evaluation without gradients; modes and random numbers come back."""
    with torch.no_grad(), unturned(model):
        model.eval()
        yield


@contextmanager
def unturned(model: nn.Module) -> Iterator[None]:
    """Give *model* its modes back afterwards, and torch its random numbers."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.random.fork_rng(devices=_cuda_devices(model)):
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def replica(model: nn.Module) -> Iterator[nn.Module]:
    """
    Give a copy of *model*, in training, to do anything with; random numbers come back.

    A copy, and not the model put back afterwards: some normalizers keep state that no
    state dict has, such as whose backward is next.
    """
    with torch.random.fork_rng(devices=_cuda_devices(model)):
        twin = copy.deepcopy(model)
        twin.zero_grad(set_to_none=True)
        yield twin


def _cuda_devices(model: nn.Module) -> List[int]:
    return sorted({p.device.index or 0 for p in model.parameters() if p.is_cuda})
