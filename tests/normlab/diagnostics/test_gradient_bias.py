"""The gradient of a small batch has the bias of the closed form; that of online has none."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from normlab.diagnostics.gradient_bias import GradientBias, measure_gradient_bias
from normlab.errors import InvalidSpec
from normlab.nets import build
from normlab.norms import make
from normlab.specs.network_and_data import ModelSpec
from normlab.specs.normalizers import parse_normalizer

ONLINE = {"kind": "online", "error_compensation": "none", "affine": False, "eps": 1e-12}


def linear_unit(norm: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 1, bias=False), norm).double()


def pull(out: Tensor, target: Tensor) -> Tensor:
    return -(out * target).mean()


def toy(
    norm: nn.Module, batch_size: int, passes: int, warm_up: int = 0, samples: int = 4096
) -> GradientBias:
    """Ten Gaussian inputs, and a target that is linear in them."""
    torch.manual_seed(1)
    x = torch.randn(samples, 10, dtype=torch.float64)
    y = x @ torch.randn(10, 1, dtype=torch.float64)
    model = linear_unit(norm)
    return measure_gradient_bias(model, pull, x, y, batch_size, passes, warm_up)


def mean_deviation(m: int) -> float:
    """Return the mean biased deviation of m standard Gaussian numbers."""
    return math.sqrt(2 / m) * math.exp(math.lgamma(m / 2) - math.lgamma((m - 1) / 2))


@pytest.mark.parametrize("m", [4, 8, 32, 128])
def test_batch_norm_shortens_the_gradient_as_the_closed_form_says(m: int) -> None:
    # With a linear target the expected loss is -(a w^) E[deviation of m values]
    found = toy(nn.BatchNorm1d(1, eps=1e-12, affine=False), m, passes=2)
    assert found.norm_ratio == pytest.approx(mean_deviation(m), abs=0.03 if m < 32 else 0.01)
    assert found.cosine == pytest.approx(1, abs=2e-3)
    assert found.relative_error == pytest.approx(1 - mean_deviation(m), abs=0.03)


def test_online_normalization_is_unbiased() -> None:
    assert toy(make(ONLINE, 1, dims=1).double(), 64, passes=4, warm_up=1).relative_error < 0.02


def test_online_normalization_does_not_see_the_batch() -> None:
    one, many = (
        toy(make(ONLINE, 1, dims=1).double(), size, passes=1, samples=128) for size in (1, 64)
    )
    assert one.relative_error == pytest.approx(many.relative_error, rel=1e-6)


@pytest.mark.parametrize("kind", ["layer", "group", "batch"])
def test_a_network_is_biased_only_where_samples_share_statistics(kind: str) -> None:
    torch.manual_seed(0)
    net = build(ModelSpec(name="preresnet8", width=4), parse_normalizer(kind), 1, 10, 16).double()
    x, y = torch.randn(32, 1, 16, 16, dtype=torch.float64), torch.arange(32) % 10
    before = {name: t.clone() for name, t in net.state_dict().items()}
    found = measure_gradient_bias(net, nn.functional.cross_entropy, x, y, 4, passes=1)
    if kind == "batch":
        assert found.relative_error > 0.05
    else:
        assert found.relative_error < 1e-6
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


def test_virtual_batches_count_as_batches() -> None:
    norm = make({"kind": "batch", "virtual_batch_size": 4, "eps": 1e-12}, 1, dims=1).double()
    found = toy(norm, 64, passes=2)
    assert found.norm_ratio == pytest.approx(mean_deviation(4), abs=0.02)


def test_one_batch_has_nothing_to_average() -> None:
    with pytest.raises(InvalidSpec, match="two batches"):
        measure_gradient_bias(nn.Linear(2, 1), pull, torch.ones(4, 2), torch.ones(4, 1), 4)
    with pytest.raises(InvalidSpec, match="zero"):
        measure_gradient_bias(nn.Linear(2, 1), pull, torch.ones(4, 2), torch.zeros(4, 1), 2)
