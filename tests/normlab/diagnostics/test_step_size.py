"""Weights before a normalizer turn by the effective step, and only their direction matters."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from normlab import norms
from normlab.diagnostics.step_size import StepSizeMeter, scale_free_layers, scale_invariance
from normlab.errors import InvalidSpec


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), norms.make({"kind": "batch", "eps": 1e-12}, 6, "relu"),
        nn.Flatten(), nn.Linear(6 * 36, 4),
    ).double()  # fmt: skip


def test_a_right_turn_is_measured_as_one() -> None:
    layer = nn.Linear(2, 1, bias=False)
    meter = StepSizeMeter(nn.Sequential(layer), {"layer": layer})
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, 0.0]]))
        meter.read(0.1)
        layer.weight.copy_(torch.tensor([[0.0, 3.0]]))
    found = meter.read(0.1)["layer"]
    assert found.direction_change == pytest.approx(math.pi / 2)
    assert found.weight_norm == pytest.approx(3)
    assert found.effective_step == pytest.approx(0.1 / 9)


def test_the_turn_of_one_sgd_step_is_what_the_formula_says() -> None:
    model, lr = net(), 1e-3
    conv = model[0]
    meter = StepSizeMeter(model)
    meter.read(lr)
    model(torch.randn(8, 3, 8, 8, dtype=torch.float64)).square().sum().backward()
    w, g = conv.weight.detach().flatten(1), conv.weight.grad.flatten(1)
    norm = w.norm(dim=1, keepdim=True)
    unit_gradient = g * norm  # the gradient at w / ||w||
    expected = (lr / norm**2 * unit_gradient).norm(dim=1).atan().mean()
    torch.optim.SGD(model.parameters(), lr=lr).step()
    assert meter.read(lr)["0"].direction_change == pytest.approx(float(expected), rel=1e-9)


def test_only_weights_before_a_normalizer_are_free_of_scale() -> None:
    model = net()
    model(torch.randn(8, 3, 8, 8, dtype=torch.float64)).square().sum().backward()
    assert scale_invariance(model[0]) < 1e-9
    assert scale_invariance(model[3]) > 1e-2


def test_a_transposed_convolution_has_its_output_channels_second() -> None:
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(3, 6, 2, stride=2, bias=False)
    model = nn.Sequential(up, norms.make({"kind": "batch", "eps": 1e-12}, 6)).double()
    model(torch.randn(8, 3, 4, 4, dtype=torch.float64)).pow(3).sum().backward()
    assert scale_invariance(up) < 1e-9


def test_the_last_layer_is_left_out() -> None:
    assert [name for name, _ in scale_free_layers(net())] == ["0"]


def test_what_cannot_be_measured_says_so() -> None:
    with pytest.raises(InvalidSpec, match="no convolution"):
        StepSizeMeter(nn.ReLU())
    with pytest.raises(InvalidSpec, match="backward"):
        scale_invariance(nn.Linear(2, 2))
