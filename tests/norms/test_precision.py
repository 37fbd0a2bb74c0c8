"""Half precision and autocast, with and without a proxy activation, forward and backward."""

from __future__ import annotations

import copy
from typing import Any, Dict

import pytest
import torch
from torch import nn

from normlab import norms
from normlab.norms import make
from normlab.specs.normalizers import BY_KIND

KINDS = list(norms.LAYERS)
OPTIONS: Dict[str, Dict[str, Any]] = {
    "group": {"groups": 2},
    "topk_batch": {"k": 3},
    "meta": {"samples": "batch"},
}


def _takes(kind: str, options: Dict[str, Any]) -> bool:
    return set(options) <= set(BY_KIND[kind].model_fields)


needs_half = pytest.mark.skipif(
    not hasattr(torch, "get_autocast_dtype"),  # since 2.4
    reason="before 2.4 torch has few operators in float16 on a processor",
)
HALVES = [torch.bfloat16, pytest.param(torch.float16, marks=needs_half)]
every_kind = pytest.mark.parametrize("kind", KINDS)
both_halves = pytest.mark.parametrize("dtype", HALVES, ids=str)
with_and_without_proxy = pytest.mark.parametrize(
    "asked",
    [{"kind": k, **more} for k in KINDS for more in ({}, {"proxy": True}) if _takes(k, more)],
    ids=str,
)


def spec(kind: str, **more: Any) -> Dict[str, Any]:
    return {"kind": kind, **OPTIONS.get(kind, {}), **more}


@both_halves
@with_and_without_proxy
def test_a_net_under_autocast_learns_as_one_in_float32(
    asked: Dict[str, Any], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    layer = make(spec(**asked), 8, "relu")
    net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), layer)
    exact = copy.deepcopy(net)
    x, g = torch.randn(4, 3, 10, 9), torch.randn(4, 8, 8, 7)
    with torch.autocast(x.device.type, dtype=dtype):
        y = net(x)
    assert y.dtype == dtype
    (y.float() * g).sum().backward()
    z = exact(x)
    (z * g).sum().backward()
    torch.testing.assert_close(y.float(), z, rtol=5e-2, atol=5e-2)
    for a, b in zip(net.parameters(), exact.parameters()):
        if b.grad is not None:
            assert a.grad is not None
            assert a.grad.dtype == torch.float32
            assert (
                a.grad - b.grad
            ).norm() <= 0.2 * b.grad.norm() + 0.05  # inputs of the activation change sign


@needs_half
@with_and_without_proxy
def test_half_precision_overflows_in_no_pass(asked: Dict[str, Any]) -> None:
    torch.manual_seed(0)
    x = (60000 * torch.sign(torch.randn(4, 8, 5, 3))).half().requires_grad_()
    y = make(spec(**asked), 8, "relu")(x)
    y.float().square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    if asked["kind"] != "online":  # it starts with the statistics of N(0, 1)
        assert y.isfinite().all()


@every_kind
@both_halves
def test_state_stays_in_float32_for_half_inputs(kind: str, dtype: torch.dtype) -> None:
    layer = make(spec(kind), 8)
    layer(torch.randn(4, 8, 5, 3).to(dtype))
    floats = [b for b in layer.buffers() if b.is_floating_point()]
    assert all(b.dtype == torch.float32 for b in floats)
    assert all(b.isfinite().all() for b in floats)


@every_kind
@both_halves
def test_half_inputs_keep_channels_last(kind: str, dtype: torch.dtype) -> None:
    x = torch.randn(4, 8, 5, 3).to(dtype).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    y = make(spec(kind), 8)(x)
    y.sum().backward()
    assert x.grad is not None
    for found in (y, x.grad):
        assert found.dtype == dtype
        assert found.is_contiguous(memory_format=torch.channels_last)
