"""Standardized filters: what they keep, what they cannot do, and which layers they go with."""

from __future__ import annotations

from typing import Any, Callable, Dict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.nets import build
from normlab.norms import apply_weight_normalization, make
from normlab.norms.conversion import convert
from normlab.norms.per_sample import GroupNorm
from normlab.norms.weight_standardization import GAMMAS
from normlab.specs.network_and_data import ModelSpec
from normlab.specs.normalizers import parse_normalizer

SCALED = "scaled_weight_standardized"
BOTH = pytest.mark.parametrize("kind", ["weight_standardized", SCALED])
PHI: Dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "none": lambda z: z,
}


def test_each_filter_has_mean_zero_and_variance_one() -> None:
    torch.manual_seed(0)
    conv = apply_weight_normalization(nn.Conv2d(3, 6, 3), "weight_standardized")
    rows = conv.weight.flatten(1)
    torch.testing.assert_close(rows.mean(1), torch.zeros(6), atol=1e-6, rtol=0)
    torch.testing.assert_close(rows.var(1, unbiased=False), torch.ones(6))


@pytest.mark.parametrize("phi", list(GAMMAS))
def test_gamma_makes_up_for_what_the_activation_takes_off(phi: str) -> None:
    z = torch.linspace(-12, 12, 480_001, dtype=torch.float64)
    mass = torch.exp(-z * z / 2)
    mass = mass / mass.sum()
    y = PHI[phi](z)
    variance = (mass * (y - (mass * y).sum()).square()).sum()
    assert abs(GAMMAS[phi] - variance**-0.5) < 1e-8


@pytest.mark.parametrize("phi", list(GAMMAS))
def test_a_scaled_filter_gives_the_variance_from_before_the_activation(phi: str) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(400, 200, bias=False)
    spec = {"kind": SCALED, "nonlinearity": phi, "include_linear": True}
    y = apply_weight_normalization(linear, spec)(PHI[phi](torch.randn(2000, 400)))
    assert abs(float(y.detach().var()) - 1) < 0.02


def test_a_common_offset_of_the_input_does_not_go_through() -> None:
    torch.manual_seed(0)
    conv = apply_weight_normalization(nn.Conv2d(3, 6, 3), SCALED)
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(conv(x + 2), conv(x), atol=1e-5, rtol=1e-5)


@BOTH
def test_a_filter_without_spread_is_refused_by_name(kind: str) -> None:
    depthwise = nn.Sequential(nn.Conv2d(4, 4, 1, groups=4))
    with pytest.raises(InvalidSpec, match=r"0 \(Conv2d\): output channel 0 has one weight"):
        apply_weight_normalization(depthwise, kind)
    constant = nn.Conv2d(3, 4, 3)
    nn.init.constant_(constant.weight[2], 0.1)
    with pytest.raises(InvalidSpec, match="output channel 2 has weights that are all the same"):
        apply_weight_normalization(constant, kind)


def test_group_norm_stands_beside_standardized_filters_with_its_options() -> None:
    spec = {"kind": "weight_standardized", "groups": 2, "eps": 1e-3, "affine": False}
    layer = make(spec, 8)
    assert isinstance(layer, GroupNorm)
    assert (layer.groups, layer.eps, layer.affine) == (2, 1e-3, False)
    with pytest.raises(InvalidSpec, match="does not divide 6 channels"):
        make({"kind": "weight_standardized", "groups": 4}, 6)


def test_a_network_has_both_and_its_head_neither() -> None:
    model = ModelSpec(name="preresnet8", width=8)
    net = build(model, parse_normalizer("weight_standardized"), 3, 10, 32)
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert all(hasattr(conv, "parametrizations") for conv in convs)
    assert not any(hasattr(m, "parametrizations") for m in net.modules() if type(m) is nn.Linear)
    assert [m for m in net.modules() if isinstance(m, GroupNorm)]
    net(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_converted_group_norms_keep_their_groups_and_parameters() -> None:
    net: Any = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU())
    affine = net[1].weight
    convert(net, "weight_standardized")
    assert type(net[1]) is GroupNorm
    assert (net[1].groups, net[1].weight is affine) == (2, True)
    assert hasattr(net[0], "parametrizations")
