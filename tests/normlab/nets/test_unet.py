from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from normlab.nets import build
from normlab.specs.network_and_data import ModelSpec
from normlab.specs.normalizers import BY_KIND, parse_normalizer


def make(normalizer: Any = "batch", width: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return build(ModelSpec(name="unet", width=width), parse_normalizer(normalizer), 3, 5, 32)


@pytest.mark.parametrize("size", [(32, 32), (45, 38)])
def test_every_pixel_gets_its_logits(size: tuple[int, int]) -> None:
    assert make()(torch.randn(2, 3, *size)).shape == (2, 5, *size)


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_any_normalizer_fits(kind: str) -> None:
    y = make(kind)(torch.randn(2, 3, 32, 32))
    y.sum().backward()
    assert torch.isfinite(y).all()


def test_a_pixel_sees_fine_detail_and_the_whole_neighbourhood() -> None:
    model = make("none").double().eval()
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    model(x)[0, :, 16, 16].sum().backward()
    assert x.grad is not None
    rows, columns = x.grad[0].abs().sum(0).nonzero(as_tuple=True)
    assert rows.max() - rows.min() > 20
    assert columns.max() - columns.min() > 20
    assert x.grad[0, :, 16, 16].abs().sum() > 0


def test_transposed_convolutions_keep_the_power_of_what_they_enlarge() -> None:
    torch.manual_seed(0)
    up: Any = make(width=32).up[0]
    y = up.up(torch.randn(8, 64 * 2, 8, 8))
    assert y.var().item() == pytest.approx(1, rel=0.1)
