"""Copies and files: a layer or its network continues elsewhere with the same numbers."""

from __future__ import annotations

import copy
import io
from typing import Any, Dict, List

import pytest
import torch
from torch import Tensor, nn

from normlab import norms
from normlab.norms import apply_weight_normalization, make
from normlab.specs.normalizers import BY_KIND

SPECS: Dict[str, Dict[str, Any]] = {kind: {"kind": kind} for kind in BY_KIND}
SPECS["keras renorm"] = {"kind": "batch_renorm", "variant": "keras"}
SPECS["learned lengths"] = {"kind": "bounded_weight", "rho": "learned"}
SPECS["lengths of one"] = {"kind": "bounded_weight", "renormalize": True}
SPECS["batch average"] = {"kind": "switchable", "running": "average"}
SPECS["proxy"] = {"kind": "group", "groups": 2, "proxy": True}
every_spec = pytest.mark.parametrize("name", SPECS)


def net_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    layer = make(SPECS[name], 8, "relu")
    net = nn.Sequential(nn.Conv2d(3, 8, 3), layer, nn.Conv2d(8, 4, 1))
    return apply_weight_normalization(net, SPECS[name])


def trained(net: nn.Module, steps: int, seed: int) -> List[Tensor]:
    """Train *net* for a few steps; return its outputs and finally all parameters and state."""
    torch.manual_seed(seed)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    outputs = []
    for step in range(steps):
        norms.set_training_progress(net, step / 10)
        optimizer.zero_grad()
        y = net(torch.randn(4, 3, 6, 6))
        (y * torch.randn_like(y)).sum().backward()
        optimizer.step()
        outputs.append(y.detach())
    return [*outputs, *(t.detach().clone() for t in net.state_dict().values())]


def assert_goes_on_alike(net: nn.Module, other: nn.Module) -> None:
    for a, b in zip(trained(net, 3, seed=2), trained(other, 3, seed=2)):
        assert torch.equal(a, b)


@every_spec
def test_a_copy_continues_like_the_original(name: str) -> None:
    net = net_of(name)
    trained(net, 2, seed=1)
    assert_goes_on_alike(net, copy.deepcopy(net))


@every_spec
def test_a_copy_may_be_made_while_a_graph_waits(name: str) -> None:
    net = net_of(name)
    y = net(torch.randn(4, 3, 6, 6))
    other = copy.deepcopy(net)
    y.sum().backward()
    other(torch.randn(4, 3, 6, 6)).sum().backward()


@every_spec
def test_a_state_dict_in_a_file_continues_like_the_original(name: str) -> None:
    net = net_of(name)
    trained(net, 2, seed=1)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other = net_of(name)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert_goes_on_alike(net, other)


# torch cannot pickle a parametrized module, and recommends to save a state dict
WHOLE = [n for n, s in SPECS.items() if BY_KIND[s["kind"]].acts_on not in ("weights", "both")]


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_module_in_a_file_continues_like_the_original(name: str) -> None:
    net = net_of(name)
    trained(net, 2, seed=1)
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    assert_goes_on_alike(net, torch.load(file, weights_only=False))


@every_spec
def test_evaluation_changes_nothing_that_training_uses(name: str) -> None:
    net, other = net_of(name), net_of(name)
    for each in (net, other):
        trained(each, 2, seed=1)
    torch.manual_seed(3)
    net.eval()(torch.randn(5, 3, 6, 6)).sum().backward()
    with torch.no_grad():
        net(torch.randn(5, 3, 6, 6))
    assert_goes_on_alike(net.train(), other)
