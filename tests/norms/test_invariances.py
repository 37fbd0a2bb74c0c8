"""What changes nothing, or what it should, in the output of each kind."""

from __future__ import annotations

import pytest
import torch

from normlab.errors import InvalidSpec
from normlab.norms import make
from tests.norms.family import (
    BRINGS,
    KINDS,
    OVER_POSITIONS,
    SAMPLE_ALONE,
    every_kind,
    layer_of,
    run,
    spec,
)

BATCH_LIKE = [
    k
    for k in KINDS
    if k in ("batch", "batch_renorm", "l1_batch", "linf_batch", "topk_batch", "instance")
]


@pytest.mark.parametrize("kind", BATCH_LIKE)
def test_channels_may_be_scaled_and_shifted_freely(kind: str) -> None:
    x = torch.randn(4, 8, 5, 3)
    scale, shift = 1 + 9 * torch.rand(8, 1, 1), torch.randn(8, 1, 1)
    layer, other = make(spec(kind), 8), make(spec(kind), 8)
    torch.testing.assert_close(layer(scale * x + shift), other(x), rtol=1e-3, atol=1e-3)


# What takes no mean off, so that a shift stays.
NOT_CENTRED = ("rms", "filter_response")
WITHOUT_STATISTICS = ("dyt",)
CENTRED = [
    k
    for k in (*SAMPLE_ALONE, "meta", "switchable")
    if k not in (*NOT_CENTRED, *WITHOUT_STATISTICS, *BRINGS)
]


@pytest.mark.parametrize("kind", [k for k in NOT_CENTRED if k in KINDS])
def test_a_common_scale_makes_no_difference_where_a_shift_does(kind: str) -> None:
    x = torch.randn(4, 8, 5, 3)
    layer = make(spec(kind), 8)
    torch.testing.assert_close(layer(50 * x), layer(x), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(layer(x + 3), layer(x), atol=0.1)


@pytest.mark.parametrize("kind", WITHOUT_STATISTICS)
def test_a_value_does_not_feel_any_other(kind: str) -> None:
    x, g = torch.randn(4, 8, 5, 3), torch.randn(4, 8, 5, 3)
    y, gx = run(layer_of(kind), x, g)
    alone = run(layer_of(kind), x[:, :, 2:3, 1:2], g[:, :, 2:3, 1:2])
    torch.testing.assert_close(alone[0], y[:, :, 2:3, 1:2])
    torch.testing.assert_close(alone[1], gx[:, :, 2:3, 1:2])


@pytest.mark.parametrize("kind", CENTRED)
def test_a_common_scale_and_shift_make_no_difference(kind: str) -> None:
    x = torch.randn(4, 8, 5, 3)
    layer, other = make(spec(kind), 8), make(spec(kind), 8)
    torch.testing.assert_close(layer(50 * x + 3), other(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [k for k in KINDS if k in ("batch", "instance")])
def test_every_channel_ends_with_mean_zero_and_variance_one(kind: str) -> None:
    y = make(spec(kind), 8)(3 + 2 * torch.randn(16, 8, 9, 9))
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var((0, 2, 3)), torch.ones(8), atol=1e-3, rtol=0)


@every_kind
def test_constant_channels_stay_finite(kind: str) -> None:
    x = torch.full((4, 8, 5, 3), 2.5)
    y, gx = run(layer_of(kind), x, torch.randn_like(x))
    assert y.isfinite().all()
    assert gx.isfinite().all()


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "online"])
def test_a_mean_of_a_thousand_deviations_costs_few_digits(kind: str) -> None:
    x = 1000 + torch.randn(4, 8, 16, 16)
    torch.testing.assert_close(
        make(spec(kind), 8, BRINGS.get(kind))(x).double(),
        make(spec(kind), 8, BRINGS.get(kind)).double()(x.double()),
        atol=5e-3,
        rtol=5e-3,
    )


@pytest.mark.parametrize("kind", [k for k in KINDS if k in OVER_POSITIONS])
def test_one_value_for_each_channel_of_a_sample_is_refused_with_another_kind(kind: str) -> None:
    with pytest.raises(InvalidSpec, match="another kind"):
        layer_of(kind)(torch.randn(6, 8, 1, 1))


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in OVER_POSITIONS])
def test_maps_of_one_position_are_normalized(kind: str) -> None:
    x = torch.randn(6, 8, 1, 1)
    y, gx = run(layer_of(kind), x, torch.randn_like(x))
    assert y.isfinite().all()
    assert gx.isfinite().all()


@every_kind
def test_a_batch_of_one_sample_is_normalized(kind: str) -> None:
    x = torch.randn(1, 8, 5, 3)
    y, gx = run(layer_of(kind), x, torch.randn_like(x))
    assert y.isfinite().all()
    assert gx.isfinite().all()
