"""On a parabola the measures are known; a network is left unchanged."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from normlab import norms
from normlab.diagnostics.landscape import measure_landscape
from normlab.errors import InvalidSpec


class Parabola(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.theta**2).sum()


def test_a_parabola_has_its_curvature_as_beta() -> None:
    x = torch.tensor([2.0, 2.0], dtype=torch.float64)  # L = 2 |theta|^2, curvature 4
    found = measure_landscape(Parabola(), lambda out, _: out, x, x, [0.1, 0.25])
    assert found.loss == pytest.approx(20)
    assert found.beta == pytest.approx(4)
    assert found.landscape.loss_range == pytest.approx((0, 20 * 0.36))  # at 1/4 is the minimum
    assert found.landscape.gradient_predictiveness == pytest.approx(
        (0.4 * found.gradient_norm, found.gradient_norm)
    )


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_a_network_is_left_unchanged(kind: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), norms.make(kind, 4, "relu"), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(144, 2),
    )  # fmt: skip
    model[4].eval()
    model[4].weight.grad = torch.ones_like(model[4].weight)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    x, y = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 0, 1])
    random = torch.get_rng_state()
    measure_landscape(model, nn.functional.cross_entropy, x, y, [0.05, 0.4])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert model[4].weight.grad.sum() == 288
    assert model[0].weight.grad is None
    assert [m.training for m in model] == [True, True, True, True, False]


@pytest.mark.parametrize("lengths", [[], [0.0], [0.1, -0.1]])
def test_lengths_must_be_positive(lengths: list[float]) -> None:
    x = torch.zeros(2, dtype=torch.float64)
    with pytest.raises(InvalidSpec):
        measure_landscape(Parabola(), lambda out, _: out, x, x, lengths)
