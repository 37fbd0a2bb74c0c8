"""Batch norm of a pack with so many values that its statistics are merged moments of samples."""

from __future__ import annotations

from typing import Any, List, Tuple

import pytest
import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook

from normlab.errors import InvalidSpec
from normlab.norms import NormActivation, make
from normlab.training.packs import batch_norms
from normlab.training.packs.batch_norms import PackedNormActivation
from normlab.training.packs.packing import pack

MEMBERS, CHANNELS = 2, 3
STATE = ("running_mean", "running_var", "num_batches_tracked", "nonfinite_statistics")


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_norms, "MANY", 64)


def two_forms(activation: str = "relu", **options: Any) -> Tuple[List[Any], PackedNormActivation]:
    """Return the members' layers, with other weights each, and the layer of the pack."""
    torch.manual_seed(0)
    alone: List[Any] = []
    for _ in range(MEMBERS):
        layer = make({"kind": "batch", **options}, CHANNELS, activation).double()
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter)
        alone.append(layer)
    wide = pack(alone)
    assert isinstance(wide, PackedNormActivation)
    return alone, wide


def batch(far: float = 0.0) -> Tensor:
    return far + torch.randn(5, MEMBERS * CHANNELS, 4, 3, dtype=torch.float64, requires_grad=True)


def seen(layer: Any, x: Tensor, weights: Tensor) -> Tuple[Tensor, ...]:
    """Return the output for *x*, and the gradients of everything that learns."""
    y = layer(x)
    return (y, *torch.autograd.grad((y * weights).sum(), [x, *layer.parameters()]))


def each_alone(alone: List[Any], x: Tensor, weights: Tensor) -> List[Tensor]:
    parts = zip(alone, x.detach().chunk(MEMBERS, 1), weights.chunk(MEMBERS, 1))
    found = [seen(layer, part.requires_grad_(), g) for layer, part, g in parts]
    return [torch.cat(tensors, 1 if tensors[0].dim() > 1 else 0) for tensors in zip(*found)]


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_member_has_the_outputs_gradients_and_state_of_the_layer_alone(
    activation: str, affine: bool, momentum: Any
) -> None:
    alone, wide = two_forms(activation, affine=affine, momentum=momentum)
    for far in (0.0, 3.0):
        x = batch(far)
        weights = torch.randn_like(x)
        for found, right in zip(seen(wide, x, weights), each_alone(alone, x, weights)):
            torch.testing.assert_close(found, right, rtol=1e-11, atol=1e-12)
    assert_same_state(wide, alone)


def assert_same_state(wide: PackedNormActivation, alone: List[Any]) -> None:
    for name in STATE:
        found = getattr(wide.norm, name)
        right = torch.cat([getattr(layer.norm, name).reshape(-1) for layer in alone])
        torch.testing.assert_close(found.view(-1), right, rtol=1e-12, atol=0)


def test_it_is_the_form_over_rows_that_is_tested_here(monkeypatch: pytest.MonkeyPatch) -> None:
    _, wide = two_forms()
    of_torch = wide(batch()).grad_fn
    assert "ByRows" in type(of_torch).__name__
    monkeypatch.setattr(batch_norms, "MANY", 1000)
    assert "ByRows" not in type(wide(batch()).grad_fn).__name__


def test_a_batch_that_is_not_finite_changes_no_state_of_its_member_alone() -> None:
    alone, wide = two_forms()
    x = batch().detach()
    x[0, -1] = float("inf")
    wide(x)
    for layer, part in zip(alone, x.chunk(MEMBERS, 1)):
        layer(part)
    assert wide.norm.nonfinite_statistics.tolist() == [0, 1]
    assert_same_state(wide, alone)


def test_digits_are_not_lost_far_from_zero() -> None:
    _, wide = two_forms(affine=False)
    x = batch(1000.0).detach().float()
    exact = x.double() - x.double().mean((0, 2, 3), keepdim=True)
    exact = exact / (exact.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(wide.float()(x).double(), exact.relu(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("of_all", [False, True], ids=["its own", "of all modules"])
def test_a_hook_on_the_norm_sees_its_output_before_the_activation(of_all: bool) -> None:
    _, wide = two_forms()
    least: List[float] = []

    def see(module: Any, _: Any, y: Tensor) -> None:
        if module is wide.norm:
            least.append(float(y.detach().min()))

    add: Any = register_module_forward_hook if of_all else wide.norm.register_forward_hook
    handle = add(see)
    try:
        assert bool((wide(batch()) >= 0).all())
    finally:
        handle.remove()
    assert least[0] < 0


def test_a_method_that_another_library_puts_into_the_norm_is_called() -> None:
    _, wide = two_forms()
    wide.norm.forward = lambda x: torch.full_like(x, 7.0)
    assert bool((wide(batch()) == 7).all())


def test_one_value_for_each_channel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_norms, "MANY", 1)
    _, wide = two_forms()
    with pytest.raises(InvalidSpec, match="a variance needs two"):
        wide(batch()[:1, :, :1, :1])


def test_the_gradient_can_be_differentiated_again() -> None:
    alone, wide = two_forms()
    x = batch()
    weights = torch.randn_like(x)
    (first,) = torch.autograd.grad((wide(x) * weights).sum(), x, create_graph=True)
    (found,) = torch.autograd.grad(first.square().sum(), x)
    parts = []
    for layer, part, g in zip(alone, x.detach().chunk(MEMBERS, 1), weights.chunk(MEMBERS, 1)):
        part = part.requires_grad_()
        (first,) = torch.autograd.grad((layer(part) * g).sum(), part, create_graph=True)
        parts.extend(torch.autograd.grad(first.square().sum(), part))
    torch.testing.assert_close(found, torch.cat(parts, 1), rtol=1e-10, atol=1e-11)


def test_a_gradient_of_a_layer_that_is_called_twice_is_the_same_with_a_second_derivative() -> None:
    _, wide = two_forms()
    x = batch()
    weights = torch.randn_like(x)
    y = wide(wide(x).roll(1, 1) + x)
    learned = [x, *wide.parameters()]
    once = torch.autograd.grad((y * weights).sum(), learned, retain_graph=True)
    again = torch.autograd.grad((y * weights).sum(), learned, create_graph=True)
    torch.testing.assert_close(again, once, rtol=1e-10, atol=1e-12)


def test_an_evaluation_uses_the_running_statistics() -> None:
    alone, wide = two_forms()
    x = batch().detach()
    found = wide.eval()(x)
    parts = [layer.eval()(part) for layer, part in zip(alone, x.chunk(MEMBERS, 1))]
    torch.testing.assert_close(found, torch.cat(parts, 1), rtol=1e-13, atol=1e-14)


def test_only_the_layers_of_packs_have_the_form() -> None:
    assert type(make("batch", CHANNELS, "relu")) is NormActivation
