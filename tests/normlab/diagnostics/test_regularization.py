"""The rise of the loss by batch noise equals the closed form of a linear unit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from normlab.diagnostics.regularization import Regularization, measure_regularization
from normlab.errors import InvalidSpec
from normlab.norms import make

GAMMA, A = 1.5, 2.0


def squares(out: Tensor, target: Tensor) -> Tensor:
    return (out - target).square().mean()


def toy(norm: nn.Module, sizes: tuple[int, ...] = (4, 8, 16, 32)) -> Regularization:
    """A Gaussian input u and the target A u; batch norm with scale GAMMA learns it up to noise."""
    torch.manual_seed(3)
    u = torch.randn(8192, 1, dtype=torch.float64)
    u = (u - u.mean()) / u.std(unbiased=False)
    return measure_regularization(norm.double(), squares, u, A * u, sizes, passes=2)


def mean_deviation(m: int) -> float:
    """Return the mean biased deviation of m standard Gaussian numbers."""
    return math.sqrt(2 / m) * math.exp(math.lgamma(m / 2) - math.lgamma((m - 1) / 2))


def batch_norm() -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(1, eps=1e-12)
    nn.init.constant_(norm.weight, GAMMA)
    return norm


def test_the_rise_is_the_closed_form() -> None:
    # Loss of a batch: GAMMA^2 - 2 GAMMA A s_B + A^2 mean(u^2), s_B the batch's deviation
    found = toy(batch_norm())
    expected = [2 * GAMMA * A * (1 - mean_deviation(m)) for m in found.batch_sizes]
    assert found.rises == pytest.approx(expected, rel=0.05)


def test_it_falls_as_one_over_the_batch() -> None:
    found = toy(batch_norm(), (8, 16, 32, 64))
    assert found.slope == pytest.approx(1.5 * GAMMA * A, rel=0.1)  # 1 - E s = 3 / (4 M) + ...
    assert found.intercept == pytest.approx(0, abs=0.02)
    assert found.fit > 0.99
    assert found.exponent == pytest.approx(-1, abs=0.15)


def test_without_batch_statistics_nothing_rises() -> None:
    found = toy(nn.Linear(1, 1))
    assert found.rises == pytest.approx([0.0] * 4, abs=1e-12)
    assert found.slope == pytest.approx(0, abs=1e-9)


def test_virtual_batches_do_not_hide_the_batch() -> None:
    norm = make({"kind": "batch", "virtual_batch_size": 4, "eps": 1e-12}, 1, dims=1)
    nn.init.constant_(norm.weight, GAMMA)
    assert toy(norm).rises == pytest.approx(toy(batch_norm()).rises, rel=1e-6)


def test_a_rise_that_is_not_positive_has_no_exponent() -> None:
    assert Regularization([4, 8], [0.1, -0.1], 1.0, 0.0, 1.0).exponent is None


def test_two_sizes_and_their_batches_are_needed() -> None:
    x = torch.ones(8, 1)
    for sizes in ((4, 4), (4, 8)):
        with pytest.raises(InvalidSpec, match="two"):
            measure_regularization(nn.Linear(1, 1), squares, x, x, sizes)
