"""The optimizers of a pack, each member with its own numbers, against torch's."""

from __future__ import annotations

import copy
from typing import Any, Dict, List

import pytest
import torch

from accelerators.torch_session import TorchSession
from normlab.specs.jobs import JobSpec
from tests.normlab.training.packs.members import (
    STEPS,
    batches_of,
    built,
    distance,
    train_alone,
    train_packed,
    two_members,
)

MODEL = {"name": "convnet", "width": 4}
OPTIMIZERS: Dict[str, List[Dict[str, Any]]] = {
    "sgd, nesterov": [
        {"lr": 0.02, "nesterov": True, "weight_decay": 0.01},
        {"lr": 0.01, "momentum": 0.5, "nesterov": True, "decay_normalizers": True},
    ],
    "sgd, one without momentum": [{"lr": 0.05, "momentum": 0.0}, {"lr": 0.02, "clip_norm": 0.1}],
    "sgd, one with clipped entries": [{"lr": 0.02, "clip_value": 1e-3}, {"lr": 0.02}],
    "sgd, rates by depth": [{"lr": 0.02, "layer_decay": 0.5}, {"lr": 0.02}],
    "sgd, one with clipped units": [{"lr": 0.02, "clip_ratio": 0.01}, {"lr": 0.02}],
    "adamw": [
        {"name": "adamw", "lr": 1e-3, "weight_decay": 0.1},
        {"name": "adamw", "lr": 3e-3, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6},
    ],
    "rmsprop": [
        {"name": "rmsprop", "lr": 1e-3, "momentum": 0.9, "weight_decay": 0.01},
        {"name": "rmsprop", "lr": 2e-3, "alpha": 0.9, "eps": 1e-6},
    ],
}

each_optimizer = pytest.mark.parametrize("name", list(OPTIMIZERS))


def members(name: str) -> List[JobSpec]:
    options = OPTIMIZERS[name]
    return [
        two_members(normalizer="batch", model=MODEL, optimizer=optimizer)[i]
        for i, optimizer in enumerate(options)
    ]


@each_optimizer
def test_each_member_learns_with_its_own_numbers(name: str) -> None:
    specs = members(name)
    nets = [built(spec, 8) for spec in specs]
    batches = [batches_of(spec, 6, 8) for spec in specs]
    packed = train_packed(nets, specs, batches)
    for i, member in enumerate(zip(nets, specs, batches)):
        alone = train_alone(*member)["model"]
        assert distance(packed.state_of(i)["model"], alone) < 1e-10


@each_optimizer
def test_a_member_goes_on_alone_with_the_state_of_its_optimizer(name: str) -> None:
    specs = members(name)
    nets = [built(spec, 8) for spec in specs]
    batches = [batches_of(spec, 6, 8) for spec in specs]
    packed = train_packed(nets, specs, [batch[:3] for batch in batches])
    for i, (net, spec) in enumerate(zip(nets, specs)):
        session = TorchSession(copy.deepcopy(net), spec, torch.device("cpu"))
        session.load_state_dict(packed.state_of(i))
        for step, (x, y) in enumerate(batches[i][3:], 3):
            session.prepare(spec.optimizer.lr, step / STEPS)
            session.train(x, y)
        alone = train_alone(net, spec, batches[i])["model"]
        assert distance(session.state_dict()["model"], alone) < 1e-10


def test_micro_batches_of_an_update_add_up() -> None:
    fields = {"normalizer": "batch", "model": MODEL, "gradient_accumulation": 2}
    specs = two_members(**fields)
    nets = [built(spec, 8) for spec in specs]
    batches = [batches_of(spec, 4, 8) for spec in specs]
    packed = train_packed(nets, specs, batches)
    for i, member in enumerate(zip(nets, specs, batches)):
        assert distance(packed.state_of(i)["model"], train_alone(*member)["model"]) < 1e-10


@pytest.mark.parametrize("limit", ["clip_norm", "clip_ratio"])
def test_a_gradient_whose_norm_overflows_is_as_it_is_alone(limit: str) -> None:
    rate = {"lr": 1e-30, "momentum": 0.0}
    first, other = ({**rate, limit: 0.1}, rate)
    specs = [
        two_members(normalizer="none", model=MODEL, optimizer=optimizer)[i]
        for i, optimizer in enumerate((first, other))
    ]
    nets = [built(spec, 8).float() for spec in specs]
    huge = [[(1e25 * x.float(), y) for x, y in batches_of(spec, 1, 8)] for spec in specs]
    packed = train_packed(nets, specs, huge).state_of(1)["model"]
    alone = train_alone(nets[1], specs[1], huge[1])["model"]
    assert all(bool(value.isfinite().all()) for value in alone.values())
    assert distance(packed, alone) == 0.0


def test_the_second_moments_of_adam_are_rounded_once_in_float32() -> None:
    specs = members("adamw")
    nets = [built(spec, 8).float() for spec in specs]
    batches = [[(x.float(), y) for x, y in batches_of(spec, 1, 8)] for spec in specs]
    packed = train_packed(nets, specs, batches)
    for i, member in enumerate(zip(nets, specs, batches)):
        alone = train_alone(*member)["optimizer"]["state"]
        found = packed.state_of(i)["optimizer"]["state"]
        a, b = (sum(float(s["exp_avg_sq"].sum()) for s in of.values()) for of in (found, alone))
        assert a == pytest.approx(b, rel=2e-6)
