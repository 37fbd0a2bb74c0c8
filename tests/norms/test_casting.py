"""Layers keep their meaning when they are cast to half precision."""

from __future__ import annotations

import copy
from typing import Any, Dict

import pytest
import torch
from torch import Tensor, nn

from normlab.norms import make, plain_operators
from normlab.specs.normalizers import BY_KIND
from tests.norms.stateful import ONLINE, SPECS

_WITH_OPTIONS: Dict[str, Dict[str, Any]] = {
    **SPECS,
    "group": {"kind": "group", "groups": 2, "grouping": "strided"},
    "rms": {"kind": "rms", "groups": 2},
    "filter_response": {"kind": "filter_response", "learned_eps": True},
    "evonorm_s0": {"kind": "evonorm_s0", "groups": 2},
    "meta, own": {"kind": "meta", "gate_init": "own"},
    "meta, default": {"kind": "meta"},
    "small eps": {"kind": "batch", "eps": 1e-8},
    "ludvb, small eps": {"kind": "batch_renorm", "variant": "ludvb", "eps": 1e-8},
    "group, proxy": {"kind": "group", "groups": 2, "proxy": True},
}
_WITHOUT = {
    kind: {"kind": kind}
    for kind in sorted({*BY_KIND} - {options["kind"] for options in _WITH_OPTIONS.values()})
    if BY_KIND[kind].acts_on == "activations"
}
EVERY: Dict[str, Dict[str, Any]] = {**_WITH_OPTIONS, **_WITHOUT}
PRECISION = {torch.float16: 2e-3, torch.bfloat16: 2e-2}
CASTS = {
    "half": (lambda m: m.half(), torch.float16),
    "bfloat16": (lambda m: m.bfloat16(), torch.bfloat16),
    "to half": (lambda m: m.to(torch.float16), torch.float16),
    "half of float32": (lambda m: m.float().half(), torch.float16),
}


def _trained(name: str) -> nn.Module:
    """Build a layer in float64 after data of variance 160,000, too large for half precision."""
    torch.manual_seed(0)
    layer = make(EVERY[name], 8, "relu").double()
    for _ in range(3):
        layer(400 * torch.randn(6, 8, 5, 3).double() + 1000)
    return layer


def _computes(dtype: torch.dtype) -> bool:
    try:
        torch.zeros(1, dtype=dtype).relu()
    except RuntimeError:  # PyTorch before 2.1
        return False
    return True


def _error(found: Tensor, right: Tensor) -> float:
    return ((found.double() - right).abs().max() / right.abs().max()).item()


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("form", ["fast", "plain"])
@pytest.mark.parametrize("how", CASTS)
@pytest.mark.parametrize("name", EVERY)
def test_a_cast_layer_computes_the_same_as_before(
    name: str, how: str, form: str, training: bool
) -> None:
    if form == "plain" and name in ONLINE:
        pytest.skip("online has no plain form")
    cast, dtype = CASTS[how]
    if not _computes(dtype):
        pytest.skip(f"PyTorch {torch.__version__} has no ReLU of {dtype} on a CPU")
    right = plain_operators(_trained(name), form == "plain").train(training)
    layer = cast(copy.deepcopy(right))
    x = (400 * torch.randn(6, 8, 5, 3) + 1000).to(dtype)
    y = layer(x)
    assert y.dtype == dtype
    assert _error(y, right(x.double())) < PRECISION[dtype]
    for state, wide in zip(layer.state_dict().values(), right.state_dict().values()):
        torch.testing.assert_close(state.double(), wide.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_a_cast_changes_parameters_and_no_state(name: str) -> None:
    layer = _trained(name)
    before = {k: b.float() for k, b in layer.named_buffers() if b.is_floating_point()}
    layer.half()
    for key, value in before.items():
        now = dict(layer.named_buffers())[key]
        assert now.dtype == torch.float32
        assert torch.equal(now, value), key
    for key, parameter in layer.named_parameters():
        decides = any(word in key for word in ("gate", "mean_weight", "var_weight"))
        assert parameter.dtype == (torch.float32 if decides else torch.float16), key


def test_the_gradient_of_a_gate_is_cast_like_the_gate() -> None:
    layer = make("meta", 8)
    layer(torch.randn(4, 8, 3, 3)).square().sum().backward()
    layer.half()
    for parameter in layer.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == parameter.dtype


def test_a_layer_can_be_cast_to_double_and_back() -> None:
    layer = make("batch", 8).double()
    assert layer.running_var.dtype == torch.float64
    assert layer.float().running_var.dtype == torch.float32
    assert layer.to("meta").running_var.is_meta
