"""Virtual batches with a smaller last one: each uses its own number of values."""

from __future__ import annotations

from typing import Any, Dict

import pytest
import torch
from torch import Tensor

from normlab.errors import DeviceUnavailable
from normlab.norms import fused_kernels, make

N, SIZE, D = 5, 2, 6  # groups of 12, 12 and 6 values per channel
META: Dict[str, Any] = {"kind": "meta", "samples": "batch", "virtual_batch_size": SIZE}
# A kind, and how many channels share its statistics.
MERGED: Dict[str, Any] = {
    "batch": ({"kind": "batch", "virtual_batch_size": SIZE}, 1),
    "meta, own": ({**META, "channels": "own"}, 1),
    "meta, groups": ({**META, "channels": "groups", "groups": 2}, 4),
    "meta, all": ({**META, "channels": "all"}, 8),
    "meta, learned": ({**META, "channels": "learned"}, 8),
    "meta, learned samples": ({**META, "samples": "learned", "channels": "own"}, 1),
}


def _unbiased(x: Tensor, channels: int) -> Tensor:
    """Return the mean over the samples of their groups' unbiased variance."""
    found = torch.zeros(8, dtype=x.dtype)
    for group in x.split(SIZE):
        merged = group.view(len(group), 8 // channels, channels, D)
        var = merged.transpose(0, 1).reshape(8 // channels, -1).var(1)
        found += var.repeat_interleave(channels) * len(group) / N
    return found


@pytest.mark.parametrize("form", ["stock", "plain", "loops", "without a graph"])
@pytest.mark.parametrize("name", MERGED)
def test_each_group_has_its_own_correction(name: str, form: str) -> None:
    spec, channels = MERGED[name]
    layer = make({**spec, "momentum": 1.0}, 8, plain=form == "plain").double()
    x = torch.randn(N, 8, 3, 2).double() * torch.arange(1, N + 1).view(-1, 1, 1, 1)
    try:
        with fused_kernels(form == "loops"), torch.set_grad_enabled(form != "without a graph"):
            layer(x.requires_grad_(form != "without a graph"))
    except DeviceUnavailable as e:
        pytest.skip(str(e))
    right = _unbiased(x.detach().flatten(2), channels)
    torch.testing.assert_close(layer.running_var, right, rtol=1e-12, atol=0)


@pytest.mark.parametrize("plain", [False, True])
def test_unbiased_reference_in_one_dimension_counts_each_group(plain: bool) -> None:
    spec = {"kind": "switchable", "unbiased_reference": True, "virtual_batch_size": 2}
    layer = make({**spec, "momentum": 1.0}, 8, dims=1, plain=plain).double()
    x = torch.randn(5, 8, 3).double() * torch.arange(1, 6).view(-1, 1, 1)
    layer(x)
    groups = [(len(g), g.transpose(0, 1).reshape(8, -1).var(1)) for g in x.split(2)]
    right = sum(size * var for size, var in groups) / 5
    torch.testing.assert_close(layer.running_var, right, rtol=1e-12, atol=0)


def test_a_gate_of_the_samples_weighs_a_smaller_group_by_its_own_size() -> None:
    layer = make({**META, "samples": "learned", "channels": "own"}, 8).double()
    x, g = torch.randn(5, 8, 3, 2).double(), torch.randn(5, 8, 3, 2).double()
    layer(x).backward(g)
    whole = layer.sample_gate.grad.clone()
    parts = torch.zeros_like(whole)
    for part, slope in zip(x.split(2), g.split(2)):
        layer.sample_gate.grad = None
        layer(part).backward(slope)
        parts += layer.sample_gate.grad
    torch.testing.assert_close(whole, parts)
