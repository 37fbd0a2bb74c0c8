"""The forms of a pack's convolutions in training, against the grouped ones of torch."""

from __future__ import annotations

import copy
from typing import Any, Dict, Tuple

import pytest
import torch
from torch import Tensor, nn

from normlab.nets.sites import conv1x1, conv3x3
from normlab.training.packs import convolutions
from normlab.training.packs.convolutions import PackedConv2d
from normlab.training.packs.packing import pack
from normlab.training.packs.session import PackSession
from tests.normlab.training.packs.members import built, two_members

MEMBERS, CHANNELS = 3, 4
SHAPES: Dict[str, Tuple[Any, Dict[str, Any]]] = {
    "one tap": (1, {}),
    "one tap, every second position": (1, {"stride": 2}),
    "one tap, with biases": (1, {"stride": 2, "bias": True}),
    "one tap, with a margin": (1, {"padding": 1}),
    "nine taps": (3, {"padding": 1}),
    "nine taps, every second position": (3, {"padding": 1, "stride": 2}),
    "more taps than are copied": (5, {"padding": 2}),
    "unlike sides": ((3, 2), {"padding": (1, 0), "stride": (1, 2), "bias": True}),
}

each_shape = pytest.mark.parametrize("name", list(SHAPES))


def two_forms(name: str) -> Tuple[nn.Module, PackedConv2d]:
    """Return the same convolution of all members: grouped, and by products in training."""
    taps, options = SHAPES[name]
    members = [nn.Conv2d(CHANNELS, 2, taps, **{"bias": False, **options}) for _ in range(MEMBERS)]
    wide = pack(members).double()
    assert isinstance(wide, PackedConv2d)
    products = copy.deepcopy(wide)
    products.by_products = True
    return wide, products


def seen_by(layer: nn.Module, x: Tensor) -> Tuple[Tensor, ...]:
    """Return the output for *x*, and the gradients of everything that learns."""
    y = layer(x)
    wanted = [*layer.parameters(), *([x] if x.requires_grad else [])]
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return (y, *torch.autograd.grad((y * weights).sum(), wanted))


@each_shape
@pytest.mark.parametrize("inside", [True, False])
def test_products_equal_grouped_convolutions(name: str, inside: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, MEMBERS * CHANNELS, 7, 6, dtype=torch.float64, requires_grad=inside)
    grouped, products = two_forms(name)
    for found, right in zip(seen_by(products, x), seen_by(grouped, x)):
        torch.testing.assert_close(found, right, rtol=0, atol=1e-12)
        assert found.is_contiguous()


@each_shape
def test_a_number_that_is_not_finite_stays_with_its_member(name: str) -> None:
    _, products = two_forms(name)
    x = torch.randn(2, MEMBERS, CHANNELS, 7, 6, dtype=torch.float64)
    x[:, 1] = float("inf")
    y = products(x.flatten(1, 2)).unflatten(1, (MEMBERS, -1))
    assert bool(y[:, [0, 2]].isfinite().all())


@each_shape
def test_many_samples_of_the_networks_input_are_convolved_by_member(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolutions, "_SAMPLES", 2)
    x = torch.randn(2, MEMBERS * CHANNELS, 7, 6, dtype=torch.float64)
    grouped, products = two_forms(name)
    for found, right in zip(seen_by(products, x), seen_by(grouped, x)):
        torch.testing.assert_close(found, right, rtol=0, atol=1e-12)
    by_member = "Cat" in type(products(x).grad_fn).__name__
    assert by_member == (
        name
        in (
            "nine taps",
            "nine taps, every second position",
            "unlike sides",
            "one tap",
            "one tap, with a margin",
        )
    )


def test_an_evaluation_is_a_grouped_convolution() -> None:
    grouped, products = two_forms("one tap, every second position")
    x = torch.randn(2, MEMBERS * CHANNELS, 5, 5, dtype=torch.float64)
    assert torch.equal(products.eval()(x), grouped.eval()(x))


def test_only_float32_trains_by_products() -> None:
    for precision, chosen in (("float32", True), ("bfloat16", False)):
        specs = two_members(normalizer="batch", precision=precision)
        session = PackSession([built(spec, 8).float() for spec in specs], specs)
        layers = [m for m in session.network.module.modules() if isinstance(m, PackedConv2d)]
        assert layers
        assert all(layer.by_products is chosen for layer in layers)


def test_convolutions_that_have_groups_or_normalized_weights_keep_torchs_form() -> None:
    depthwise = [nn.Conv2d(4, 4, 3, groups=4) for _ in range(2)]
    assert not isinstance(pack(depthwise), PackedConv2d)
    spec = two_members(normalizer="weight_standardized")[0]
    wide = pack([built(spec, 8) for _ in range(2)])
    assert not any(isinstance(layer, PackedConv2d) for layer in wide.modules())


def test_a_convolution_of_ours_has_the_form() -> None:
    for make in (conv1x1, conv3x3):
        assert isinstance(pack([make(3, 4) for _ in range(2)]), PackedConv2d)
