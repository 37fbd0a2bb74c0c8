"""Networks of other libraries take their earlier weights after their norm layers were replaced."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from normlab.norms import activation_norms
from normlab.norms.conversion import convert
from normlab.training.fitting import Fitting
from normlab.training.swapping import norm_places, swap_normalizers


def tower() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.LayerNorm(8), nn.Linear(8, 4),
    )  # fmt: skip
    for module in (net[1], net[5]):
        nn.init.normal_(module.weight)
        nn.init.normal_(module.bias)
    net(torch.randn(16, 3, 9, 9))
    return net.eval()


def swapped(net: nn.Module, kind: Any) -> tuple[nn.Module, Fitting]:
    model = convert(tower(), kind)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    fitting = Fitting(model, net.state_dict())
    swap_normalizers(fitting, None)
    assert fitting.load_rest((), ()) == []
    return model.eval(), fitting


@pytest.mark.parametrize("kind", ["batch", "group", "online", "dyt"])
def test_the_affine_of_torchs_layers_goes_into_ours(kind: str) -> None:
    net = tower()
    model, fitting = swapped(net, kind)
    assert torch.equal(model[0].weight, net[0].weight)
    layer = activation_norms(model)[0]
    assert torch.equal(layer.weight, net[1].weight)
    assert torch.equal(layer.bias, net[1].bias)
    assert next(place for place, _ in norm_places(model)) == "1"
    assert "0.weight" not in fitting.told()["new"]


def test_with_batch_norm_the_convolutions_see_what_they_saw_before() -> None:
    net = tower()
    model, _ = swapped(net, "batch")
    x = torch.randn(4, 3, 9, 9)
    torch.testing.assert_close(model[:4](x), net[:4](x))


def test_running_statistics_of_torchs_layers_are_taken_by_kinds_that_have_some() -> None:
    net = tower()
    model, fitting = swapped(net, "online")
    layer: Any = activation_norms(model)[0]
    assert torch.equal(layer.mu.flatten(), net[1].running_mean)
    assert not [name for name in fitting.told()["unused"] if name.startswith("1.running")]
