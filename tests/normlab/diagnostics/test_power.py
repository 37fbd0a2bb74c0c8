"""The four terms add up, are known exactly for simple tensors, and do not change the model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from normlab import norms
from normlab.diagnostics.power import PowerMeter, watch_power
from normlab.errors import InvalidSpec


def power_of(y: torch.Tensor) -> dict[str, float]:
    meter = PowerMeter()
    meter.update(y)
    return meter.power().shares()


def test_the_power_of_a_tensor_agrees_with_one_by_hand() -> None:
    y = torch.tensor([[[1.0, 3.0]], [[4.0, 8.0]]])  # m = 2, 6; s = 1, 2
    meter = PowerMeter()
    meter.update(y)
    power = meter.power()
    assert (power.channel_mean, power.sample_mean) == (16.0, 4.0)
    assert (power.channel_std, power.sample_std) == (2.25, 0.25)
    assert power.total == pytest.approx(float((y**2).mean()))


def test_instance_norm_has_all_its_power_within_each_channel() -> None:
    y = norms.make("instance", 5).double()(torch.randn(4, 5, 6, 6, dtype=torch.float64))
    shares = power_of(y)
    assert shares["channel_std"] == pytest.approx(1, abs=1e-6)
    assert shares["sample_std"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", ["batch", "layer", "instance", {"kind": "group", "groups": 2}])
def test_normalized_power_is_one(kind: object) -> None:
    layer = norms.make(kind, 4).double()
    meter = PowerMeter()
    meter.update(layer(torch.randn(8, 4, 6, 6, dtype=torch.float64) * 3 + 1))
    assert meter.power().total == pytest.approx(1, abs=1e-4)


def test_batches_add_up_to_the_whole() -> None:
    y = torch.randn(12, 3, 4, 4, dtype=torch.float64)
    whole, parts = PowerMeter(), PowerMeter()
    whole.update(y)
    for part in y.split(5):
        parts.update(part)
    assert parts.power().shares() == pytest.approx(whole.power().shares(), abs=1e-12)


def test_a_collapsed_channel_is_seen() -> None:
    y = torch.ones(4, 2, 3, 3) + 0.01 * torch.randn(4, 2, 3, 3)
    assert power_of(y)["channel_mean"] > 0.999


def test_watching_does_not_change_output_and_state() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), norms.make("batch", 8, "relu"), nn.Conv2d(8, 4, 3))
    twin = nn.Sequential(nn.Conv2d(3, 8, 3), norms.make("batch", 8, "relu"), nn.Conv2d(8, 4, 3))
    twin.load_state_dict(model.state_dict())
    x = torch.randn(4, 3, 8, 8)
    with watch_power(model) as meters:
        y = model(x)
    assert torch.equal(y, twin(x))
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values())
    )
    assert set(meters) == {"1/norm", "1/out"}
    assert meters["1/norm"].power().channel_mean == pytest.approx(0, abs=1e-6)
    assert meters["1/out"].power().channel_mean > 0.05  # relu is positive on average


def test_torch_layers_are_watched_before_their_affine() -> None:
    layer = nn.GroupNorm(2, 4).double()
    nn.init.constant_(layer.bias, 5.0)
    x = torch.randn(4, 4, 6, 6, dtype=torch.float64)
    with watch_power(nn.Sequential(layer)) as meters:
        layer(x)
    assert meters["0/norm"].power().total == pytest.approx(1, abs=1e-3)
    assert meters["0/out"].power().channel_mean > 20


def test_a_meter_without_batches_says_so() -> None:
    with pytest.raises(InvalidSpec, match="call update first"):
        PowerMeter().power()
    with pytest.raises(InvalidSpec, match="no normalizer"), watch_power(nn.Linear(2, 2)):
        pass


@pytest.mark.parametrize("shape", [(3,), (2, 4, 3)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    meter = PowerMeter()
    meter.update(torch.randn(2, 3, 4))
    with pytest.raises(InvalidSpec):
        meter.update(torch.randn(shape))
