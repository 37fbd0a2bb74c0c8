"""Activation checkpoints around and inside compiled nets: state moves once, as in an eager one."""

from __future__ import annotations

import copy
import shutil
from functools import partial
from typing import Any, Callable, Dict

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from normlab.errors import Conflict
from normlab.laws.modes import torchs_own_warnings
from tests.norms.stateful import layer_of, state_of, train_in_parts, twins

pytestmark = pytest.mark.skipif(
    not hasattr(torch.library, "register_autograd"), reason="operators are registered since 2.4"
)

Run = Callable[[Tensor], Tensor]
Form = Callable[..., Run]

READING = [
    "renorm, steps",
    "streaming",
    "online",
    "sparse, ghosts",
]  # their output depends on state


def _around(net: nn.Module, backend: str = "aot_eager", **how: Any) -> Run:
    return partial(checkpoint, torch.compile(net, backend=backend), **how)


def _in_parts(net: nn.Sequential, backend: str = "aot_eager", **how: Any) -> Run:
    first, second = (torch.compile(part, backend=backend) for part in (net[:2], net[2:]))
    return lambda x: second(checkpoint(first, x, **how))


def _inside(net: nn.Module, backend: str = "aot_eager", **how: Any) -> Run:
    def run(x: Tensor) -> Tensor:
        y: Tensor = checkpoint(net, x, **how)
        return y

    return torch.compile(run, backend=backend, fullgraph=True)


FORMS: Dict[str, Form] = {
    "around, reentrant": partial(_around, use_reentrant=True),
    "around, hooks": partial(_around, use_reentrant=False),
    "around a part, hooks": partial(_in_parts, use_reentrant=False),
    "inside": partial(_inside, use_reentrant=False),
}


def _compare(name: str, form: Form) -> None:
    torch._dynamo.reset()
    net, twin = twins(name)
    with torchs_own_warnings():
        found = train_in_parts(twin, form(twin))
    right = train_in_parts(net, net)
    for key, value in right.items():
        if "seen_weight" in key:
            continue
        torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-9, msg=key)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", READING)
def test_a_forward_that_reads_state_is_recomputed_from_where_it_started(
    name: str, form: str
) -> None:
    _compare(name, FORMS[form])


@pytest.mark.skipif(
    shutil.which("g++") is None, reason="the compiler of torch needs a C++ compiler"
)
@pytest.mark.parametrize("form", [_around, _inside])
def test_inductor_recomputes_it_as_well(form: Form) -> None:
    _compare("renorm", partial(form, backend="inductor", use_reentrant=False))


def _gradients_of_two_uses(name: str, run: Callable[[nn.Module], Run]) -> Dict[str, Tensor]:
    torch._dynamo.reset()
    torch.manual_seed(0)
    layer, x = layer_of(name), torch.randn(5, 8, 3, 3).double().requires_grad_()
    for _ in range(2):
        run(layer)(x).pow(3).sum().backward()
    assert x.grad is not None
    state = {key: value for key, value in state_of(layer).items() if key != "seen_weight"}
    return {**state, "input": x.grad}


class _Twice(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(2 * self.layer(x) + 1)
        return y


@pytest.mark.parametrize("form", [_around, _inside])
@pytest.mark.parametrize("name", ["renorm", "streaming"])
def test_two_uses_in_one_graph_are_recomputed_from_their_two_states(name: str, form: Form) -> None:
    with torchs_own_warnings():
        found = _gradients_of_two_uses(name, lambda layer: form(_Twice(layer), use_reentrant=False))
    right = _gradients_of_two_uses(name, _Twice)
    torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-9)


def test_a_control_process_that_is_used_twice_is_refused() -> None:
    with torchs_own_warnings(), pytest.raises(Conflict, match="training forward"):
        _gradients_of_two_uses("online", lambda layer: _around(_Twice(layer), use_reentrant=False))


def test_two_uses_that_cannot_be_told_apart_are_refused() -> None:
    torch._dynamo.reset()
    layer, x = layer_of("renorm"), torch.randn(5, 8, 3, 3).double().requires_grad_()
    call = torch.compile(layer, backend="aot_eager")
    with torchs_own_warnings():
        y = checkpoint(lambda x: call(x) + call(x), x, use_reentrant=False)
        with pytest.raises(Conflict, match=r"2 training forwards of .* the right one is not known"):
            y.sum().backward()


def test_another_input_than_the_first_forwards_is_refused() -> None:
    torch._dynamo.reset()
    layer, x = layer_of("renorm"), torch.randn(5, 8, 3, 3).double().requires_grad_()
    call = torch.compile(layer, backend="aot_eager")
    with torchs_own_warnings():
        y = checkpoint(
            lambda x: call(x + torch.randn_like(x)),
            x,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        before = state_of(layer)
        with pytest.raises(Conflict, match="does not recompute"):
            y.sum().backward()
    torch.testing.assert_close(state_of(layer), before, rtol=0, atol=0)


def test_layers_with_the_same_input_are_told_apart() -> None:
    torch._dynamo.reset()
    layers = nn.ModuleList([layer_of("renorm"), layer_of("renorm")])
    with torch.no_grad():
        layers[1].running_std.mul_(3)
    twin, x = copy.deepcopy(layers), torch.randn(5, 8, 3, 3).double().requires_grad_()
    call = torch.compile(lambda x: layers[0](x) + 2 * layers[1](x).pow(3), backend="aot_eager")
    with torchs_own_warnings():
        checkpoint(call, x, use_reentrant=False).sum().backward()
    found, x.grad = x.grad, None
    (twin[0](x) + 2 * twin[1](x).pow(3)).sum().backward()
    torch.testing.assert_close(found, x.grad)


def test_a_checkpoint_around_a_transform_is_refused_with_the_way_out() -> None:
    layer, x = layer_of("batch"), torch.randn(5, 8, 3, 3).double().requires_grad_()
    parameters, buffers = torch.func.stack_module_state([layer, copy.deepcopy(layer)])

    def both(x: Tensor) -> Tensor:
        call = torch.func.vmap(lambda p, b: torch.func.functional_call(layer, (p, b), (x,)))
        y: Tensor = call(parameters, buffers)
        return y

    y = checkpoint(both, x, use_reentrant=False)
    with pytest.raises(Conflict, match=r"around torch\.func.*leave the layer out"):
        y.sum().backward()


def test_operators_that_are_counted_are_recomputed_once_as_well() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    net, twin = twins("renorm")
    right = train_in_parts(net, net)
    with FlopCounterMode(display=False):
        found = train_in_parts(twin, partial(checkpoint, twin, use_reentrant=False))
    torch.testing.assert_close(found, right)
