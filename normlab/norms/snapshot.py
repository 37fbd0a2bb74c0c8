"""A copy of the current state, for a backward that runs after the state has changed."""

from __future__ import annotations

import torch
from torch import Tensor

from normlab.norms import capture, registered

registered.register(
    "snapshot(Tensor state) -> Tensor", lambda state: state.clone(), lambda s: torch.empty_like(s)
)


def snapshot(state: Tensor) -> Tensor:
    """
    Return a copy of *state*.

    Not by `clone` for a compiler: it would save the state itself for backward, and copy it there
    again, where the state has moved. It computes no registered operator twice.
    """
    if registered.is_possible() and capture.is_compiled():
        copied: Tensor = registered.operator("snapshot")(state)
        return copied
    return state.clone()


def number(t: Tensor) -> capture.Number:
    """Return the one value of *t* now: a number, or where captured a tensor of float64."""
    return snapshot(t).double() if capture.is_on(t) else float(t)
