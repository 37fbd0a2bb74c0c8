"""LAMB and Lion against their formulas in numpy, in float64."""

from __future__ import annotations

import copy
from typing import Any, Callable, List

import numpy as np
import pytest
import torch
from torch import nn

from accelerators.cpu import CpuAccelerator
from normlab.nets import build
from normlab.specs.jobs import JobSpec
from normlab.training.lamb import Lamb
from normlab.training.lion import Lion
from normlab.training.optimizers import layer_factors, make_optimizer, parameter_groups

Arrays = List[Any]
STEPS = 5


def lamb(w: Any, gradients: Arrays, decay: float, adapts: bool) -> Any:
    """Algorithm 2 of arXiv:1904.00962 with phi(z) = z."""
    m = v = np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
        r = (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-6) + decay * w
        ratio = np.linalg.norm(w) / np.linalg.norm(r) if adapts else 1.0
        w = w - 0.05 * ratio * r
    return w


def lion(w: Any, gradients: Arrays, decay: float) -> Any:
    """Algorithm 2 of arXiv:2302.06675."""
    m = np.zeros_like(w)
    for g in gradients:
        w = w - 0.05 * (np.sign(0.8 * m + 0.2 * g) + decay * w)
        m = 0.9 * m + 0.1 * g
    return w


def run(make: Callable[[Any], torch.optim.Optimizer], w: Any, gradients: Arrays) -> Any:
    parameter = nn.Parameter(torch.tensor(w))
    idle = nn.Parameter(torch.ones(2))  # no gradient: it stays
    optimizer = make([{"params": [parameter, idle]}])
    for i, g in enumerate(gradients):
        if i == 2:  # a checkpoint in the middle changes nothing
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = make([{"params": [parameter, idle]}])
            optimizer.load_state_dict(state)
        parameter.grad = torch.tensor(g)
        optimizer.step()
    assert idle.tolist() == [1, 1]
    return parameter.detach().numpy()


def problem() -> tuple[Any, Arrays]:
    r = np.random.RandomState(0)
    return r.randn(4, 3), [r.randn(4, 3) for _ in range(STEPS)]


@pytest.mark.parametrize(("decay", "adapt_all"), [(0.1, False), (0.0, False), (0.0, True)])
def test_lamb_matches_the_formula(decay: float, adapt_all: bool) -> None:
    w, gradients = problem()
    options: dict[str, Any] = {"beta1": 0.8, "beta2": 0.9, "adapt_all": adapt_all}
    found = run(lambda p: Lamb(p, 0.05, weight_decay=decay, **options), w, gradients)
    expected = lamb(w, gradients, decay, adapts=decay > 0 or adapt_all)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lion_matches_the_formula(decay: float) -> None:
    w, gradients = problem()
    found = run(lambda p: Lion(p, 0.05, 0.8, 0.9, weight_decay=decay), w, gradients)
    np.testing.assert_allclose(found, lion(w, gradients, decay), rtol=1e-12)


def test_lamb_leaves_weights_of_zero_where_there_is_no_direction() -> None:
    w = np.zeros((2, 2))
    found = run(lambda p: Lamb(p, 0.05, weight_decay=0.1), w, [w] * STEPS)
    assert np.array_equal(found, w)


def job(**optimizer: Any) -> JobSpec:
    fields = {"normalizer": "batch", "optimizer": {"name": "sgd", **optimizer}}
    return JobSpec.model_validate(fields)


def test_the_rate_falls_from_block_to_block_towards_the_input() -> None:
    spec = job(layer_decay=0.5)
    model = build(spec.model, spec.normalizer, 3, 16, 32)
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {names[p]: f for p, f in layer_factors(model, 0.5).items()}
    assert found.keys() == set(names.values())
    assert (found["6.weight"], found["6.bias"]) == (1, 1)
    last = [name for name in found if name.startswith(("3.", "4."))]  # and the normalizer after it
    assert {found[name] for name in last} == {0.5}
    assert found["0.weight"] == 0.5**4  # the stem: three blocks and the head come after it


def test_the_groups_have_the_rates_of_their_blocks() -> None:
    spec = job(layer_decay=0.5, weight_decay=0.1)
    model = build(spec.model, spec.normalizer, 3, 16, 32)
    groups = parameter_groups(model, spec)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert {group["lr_factor"] for group in groups} == {0.5**i for i in range(5)}
    assert layer_factors(model, None) == {}


def test_a_block_moves_by_its_share_of_the_step_that_it_makes_without_layer_decay() -> None:
    torch.manual_seed(0)
    begun = build(job().model, job().normalizer, 3, 16, 32).double()
    x, y = torch.randn(8, 3, 32, 32).double(), torch.arange(8)
    moves = []
    for options in ({}, {"layer_decay": 0.5}):
        spec = job(momentum=0, **options).model_copy(update={"batch_size": 8})
        model = copy.deepcopy(begun)
        with CpuAccelerator(1).session(model, spec) as session:
            session.prepare(0.1, 0.0)
            session.train(x, y)
        pairs = zip(model.named_parameters(), begun.parameters())
        moves.append({name: (p - before).detach() for (name, p), before in pairs})
    whole, shares = moves
    names = {parameter: name for name, parameter in begun.named_parameters()}
    factors = {names[p]: factor for p, factor in layer_factors(begun, 0.5).items()}
    assert factors.keys() == whole.keys()
    for name, factor in factors.items():
        assert whole[name].abs().max() > 0
        torch.testing.assert_close(shares[name], factor * whole[name], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", ["lamb", "lion"])
def test_they_go_downhill_and_count_versions(name: str) -> None:
    spec = job(name=name, lr=0.01 if name == "lamb" else 1e-3, weight_decay=0.01)
    torch.manual_seed(0)
    model = build(spec.model, spec.normalizer, 1, 10, 8)
    x, y = torch.randn(16, 1, 8, 8), torch.arange(16) % 10
    optimizer = make_optimizer(model, spec)
    versions = [p._version for p in model.parameters()]
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(model(x), y)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert all(p._version > v for p, v in zip(model.parameters(), versions))
