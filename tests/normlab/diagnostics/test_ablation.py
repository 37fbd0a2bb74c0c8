"""Clamping channels: the results of all tiny cases are known in advance."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from normlab.diagnostics.ablation import AblationCurve, ablate
from normlab.errors import InvalidSpec


def identity_classifier(channels: int) -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Identity())
    x = torch.eye(channels)[:, :, None, None]  # sample i has only channel i
    return model, x, torch.arange(channels)


def test_each_zeroed_channel_loses_its_class() -> None:
    model, x, y = identity_classifier(10)
    curve = ablate(model, {"0": model[0]}, x, y, fractions=[0, 0.5, 0.9], orders=2)
    intact, half, few = curve.mean
    assert intact == 1.0
    assert 0.5 <= half <= 0.6  # the argmax of an all-zero row is class 0, which may be correct
    assert 0.1 <= few <= 0.2


def test_clamping_a_constant_channel_to_its_mean_costs_nothing() -> None:
    model = nn.Sequential(nn.Identity(), nn.Flatten())
    x = torch.full((4, 3, 2, 2), 7.0)
    y = torch.zeros(4, dtype=torch.long)
    curve = ablate(model, {"0": model[0]}, x, y, clamp="mean", fractions=[0, 0.9], orders=1)
    assert curve.mean == [1.0, 1.0]


def test_the_area_is_relative_to_the_intact_model() -> None:
    curve = AblationCurve([0.0, 0.5, 1.0], [[0.8, 0.8, 0.0], [0.8, 0.4, 0.0]])
    assert curve.mean == pytest.approx([0.8, 0.6, 0.0])
    assert curve.area == pytest.approx((0.35 + 0.15) / 0.8)


def test_orders_depend_only_on_the_seed() -> None:
    model, x, y = identity_classifier(10)
    curves = [ablate(model, {"0": model[0]}, x, y, orders=2, seed=s) for s in (1, 1, 2)]
    assert curves[0] == curves[1] != curves[2]


@pytest.mark.parametrize(
    "arguments", [{"fractions": [0.1, 0.2]}, {"fractions": [0, 1.0]}, {"orders": 0}]
)
def test_senseless_arguments_are_refused(arguments: dict[str, object]) -> None:
    model, x, y = identity_classifier(4)
    with pytest.raises(InvalidSpec):
        ablate(model, {"0": model[0]}, x, y, **arguments)
