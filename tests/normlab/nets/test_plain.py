from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from normlab.diagnostics.power import watch_power
from normlab.nets import build
from normlab.nets.plain import RandomSite
from normlab.specs.network_and_data import ModelSpec
from normlab.specs.normalizers import parse_normalizer


def make(normalizer: Any, width: int = 16) -> nn.Module:
    torch.manual_seed(0)
    model = ModelSpec(name="randomplain100", width=width)
    return build(model, parse_normalizer(normalizer), 1, 10, 16)


def channel_mean_power(normalizer: Any, depth: int) -> float:
    model = make(normalizer).eval()
    with watch_power(model) as meters, torch.no_grad():
        model(torch.randn(32, 1, 16, 16))
    return meters[f"{2 * depth - 1}.layer/norm"].power().channel_mean


@pytest.mark.parametrize("normalizer", ["batch", {"kind": "layer", "proxy": True}])
def test_scales_and_shifts_are_random(normalizer: Any) -> None:
    sites = [m for m in make(normalizer).modules() if isinstance(m, RandomSite)]
    named = [(n, p) for site in sites for n, p in site.named_parameters()]
    scales = torch.cat([p for n, p in named if n.endswith(".weight") and "proxy" not in n])
    shifts = torch.cat([p for n, p in named if n.endswith(".bias") and "proxy" not in n])
    assert len(scales) == len(shifts) == 100 * 16
    assert scales.mean().item() == pytest.approx(1, abs=0.03)
    assert shifts.mean().item() == pytest.approx(0, abs=0.03)
    assert (scales.std().item(), shifts.std().item()) == pytest.approx((0.2, 0.2), abs=0.02)


@pytest.mark.parametrize("normalizer", ["none", {"kind": "batch", "affine": False}])
def test_without_an_affine_nothing_but_the_filters_is_random(normalizer: Any) -> None:
    assert sum(p.dim() == 1 for p in make(normalizer).parameters()) == 1  # the last layer's bias


def test_layer_norm_collapses_with_depth_and_the_proxy_prevents_it() -> None:
    assert channel_mean_power("layer", 1) < 0.05
    assert channel_mean_power("layer", 100) > 0.8
    assert channel_mean_power({"kind": "layer", "proxy": True}, 100) < 0.05
