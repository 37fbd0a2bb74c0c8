"""Hand-written second derivatives agree with plain operators, whichever parameters are frozen."""

from __future__ import annotations

import copy
from typing import Any, Dict, List

import pytest
import torch
from torch import Tensor, nn

from normlab.norms import make, plain_operators

SPECS: Dict[str, Any] = {
    "sparse_switchable": {"kind": "sparse_switchable", "radius": 0.3},
    "group, proxy": {"kind": "group", "groups": 2, "proxy": True},
    "l1_batch": "l1_batch",
}


def _second(layer: nn.Module, x: Tensor) -> List[Tensor]:
    parameters = [p for p in layer.parameters() if p.requires_grad]
    loss = (layer(x).pow(3) * torch.linspace(-1, 1, x.numel()).double().view(x.shape)).sum()
    first = torch.autograd.grad(loss, parameters, create_graph=True)
    total = torch.stack([g.square().sum() for g in first]).sum()
    found = torch.autograd.grad(total, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found)]


@pytest.mark.parametrize(
    ("name", "frozen"),
    [
        (name, frozen)
        for name, spec in SPECS.items()
        for frozen in ("", *dict(make(spec, 4, "relu").named_parameters()))
    ],
)
def test_second_derivatives_are_those_of_plain_operators(name: str, frozen: str) -> None:
    torch.manual_seed(0)
    layer = make(SPECS[name], 4, "relu").double()
    for parameter_name, p in layer.named_parameters():
        p.data += 0.3 * torch.randn_like(p)
        p.requires_grad_(parameter_name != frozen)
    plain = plain_operators(copy.deepcopy(layer), True)
    x = torch.randn(4, 4, 3, 3).double()
    for found, right in zip(_second(layer, x), _second(plain, x)):
        torch.testing.assert_close(found, right)


def test_half_batch_norm_in_plain_operators_takes_a_proxy() -> None:
    layer = plain_operators(make({"kind": "batch", "proxy": True}, 4, "gelu").bfloat16(), True)
    x = torch.randn(4, 4, 3, 3).bfloat16().requires_grad_()
    y = layer(x)
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert x.grad is not None
