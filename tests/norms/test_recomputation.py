"""Activation checkpoints: a recomputed forward pass changes no state and gives the same result."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, Callable, Dict

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from normlab.errors import Conflict, DeviceUnavailable
from normlab.norms import fused_kernels, make
from tests.norms.stateful import (
    ONLINE,
    SPECS,
    assert_equal,
    every_spec,
    layer_of,
    state_of,
    train_in_parts,
    twins,
)

Run = Callable[[nn.Sequential, Tensor], Tensor]


def _whole(net: nn.Sequential, x: Tensor, **how: Any) -> Tensor:
    y: Tensor = checkpoint(net, x, **how)
    return y


def _parts(net: nn.Sequential, x: Tensor, **how: Any) -> Tensor:
    for part in (net[:2], net[2:4], net[4:]):
        x = checkpoint(part, x, **how)
    return x


def _nested(net: nn.Sequential, x: Tensor, **how: Any) -> Tensor:
    def outer(x: Tensor) -> Tensor:
        y: Tensor = net[2:](checkpoint(net[:2], x, **how))
        return y

    y: Tensor = checkpoint(outer, x, **how)
    return y


FORMS: Dict[str, Run] = {
    "reentrant": partial(_whole, use_reentrant=True),
    "reentrant, other random numbers": partial(
        _whole, use_reentrant=True, preserve_rng_state=False
    ),
    "reentrant, in parts": partial(_parts, use_reentrant=True),
    "reentrant, nested": partial(_nested, use_reentrant=True),
    "hooks": partial(_whole, use_reentrant=False),
    "hooks, other random numbers": partial(_whole, use_reentrant=False, preserve_rng_state=False),
    "hooks, in parts": partial(_parts, use_reentrant=False),
    "hooks, nested": partial(_nested, use_reentrant=False),
}


@every_spec
@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_changes_no_bit_of_gradients_and_state(name: str, form: str) -> None:
    net, twin = twins(name)
    assert_equal(train_in_parts(net, net), train_in_parts(twin, partial(FORMS[form], twin)))


@every_spec
@pytest.mark.parametrize("form", ["reentrant", "hooks", "hooks, nested"])
def test_a_checkpoint_changes_no_bit_in_compiled_loops(name: str, form: str) -> None:
    net, twin = twins(name)
    try:
        with fused_kernels(True):
            assert_equal(train_in_parts(net, net), train_in_parts(twin, partial(FORMS[form], twin)))
    except DeviceUnavailable as e:
        pytest.skip(str(e))


def _twice(layer: nn.Module, x: Tensor, inner: Callable[..., Tensor]) -> Tensor:
    return inner(layer, 2 * inner(layer, x) + 1)


def _gradients_of_two_uses(name: str, how: str, x: Tensor) -> Dict[str, Tensor]:
    torch.manual_seed(0)
    layer, x = layer_of(name), x.clone().requires_grad_()
    again = partial(checkpoint, use_reentrant=how.startswith("reentrant"))
    for _ in range(2):
        if how == "direct":
            y = _twice(layer, x, lambda f, x: f(x))
        elif "each" in how:
            y = _twice(layer, x, again)
        else:
            y = again(partial(_twice, layer, inner=lambda f, x: f(x)), x)
        y.pow(3).sum().backward()
    assert x.grad is not None
    return {**state_of(layer), "input": x.grad}


@pytest.mark.parametrize("how", ["hooks", "hooks, each", "reentrant", "reentrant, each"])
@pytest.mark.parametrize("name", [name for name in SPECS if name not in ONLINE])
def test_a_layer_that_is_used_twice_is_recomputed_from_its_two_states(name: str, how: str) -> None:
    x = torch.randn(5, 8, 3, 3).double()
    direct = _gradients_of_two_uses(name, "direct", x)
    # the gradients of the two uses are added in another order
    torch.testing.assert_close(_gradients_of_two_uses(name, how, x), direct, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("how", ["hooks", "hooks, each", "reentrant", "reentrant, each"])
@pytest.mark.parametrize("name", ONLINE)
def test_a_control_process_that_is_used_twice_is_refused(name: str, how: str) -> None:
    with pytest.raises(Conflict, match="training forward"):
        _gradients_of_two_uses(name, how, torch.randn(5, 8, 3, 3).double())


@pytest.mark.parametrize("name", ["renorm", "streaming"])
def test_two_uses_that_cannot_be_told_apart_are_refused(name: str) -> None:
    layer, x = layer_of(name), torch.randn(5, 8, 3, 3).double().requires_grad_()
    y = checkpoint(lambda x: layer(x) + layer(x), x, use_reentrant=False)
    with pytest.raises(Conflict, match=r"2 training forwards of .* the right one is not known"):
        y.sum().backward()


@every_spec
@pytest.mark.parametrize("reentrant", [False, True])
def test_another_input_than_the_first_forwards_is_refused(name: str, reentrant: bool) -> None:
    layer, x = layer_of(name), torch.randn(5, 8, 3, 3).double().requires_grad_()

    def noisy(x: Tensor) -> Tensor:
        y: Tensor = layer(x + torch.randn_like(x))
        return y

    before = None
    y = checkpoint(noisy, x, use_reentrant=reentrant, preserve_rng_state=False)
    before = state_of(layer)
    with pytest.raises(Conflict, match="does not recompute"):
        y.sum().backward()
    assert_equal(before, state_of(layer))


def test_the_same_batch_again_is_not_ambiguous() -> None:
    net, twin = (make(SPECS["renorm"], 4).double() for _ in range(2))
    x = torch.randn(4, 4, 3, 3).double()
    for _ in range(4):
        net(x.requires_grad_()).square().sum().backward()
        checkpoint(twin, x, use_reentrant=False).square().sum().backward()
    assert_equal(state_of(net), state_of(twin))


def test_an_ordinary_training_records_nothing() -> None:
    if not hasattr(torch._C._autograd, "_top_saved_tensors_default_hooks"):
        pytest.skip("this PyTorch does not say whether saved tensors have hooks")
    layer = layer_of("renorm")
    layer(torch.randn(4, 8, 3, 3).double()).sum().backward()
    assert not layer._recalled._forwards


def test_a_copy_made_between_the_passes_recomputes_nothing_of_the_originals() -> None:
    layer = layer_of("renorm")
    x = torch.randn(4, 8, 3, 3).double().requires_grad_()
    y = checkpoint(layer, x, use_reentrant=False)
    assert not copy.deepcopy(layer)._recalled._forwards
    y.sum().backward()
