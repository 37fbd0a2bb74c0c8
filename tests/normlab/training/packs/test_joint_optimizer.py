"""One optimizer for members with equal numbers, against that of each alone."""

from __future__ import annotations

import copy
from typing import Any, Dict, List

import pytest
import torch

from accelerators.torch_session import TorchSession
from normlab.errors import PackFellApart
from normlab.specs.jobs import JobSpec
from normlab.training.packs.joint_optimizer import learn_alike
from normlab.training.packs.session import PackSession
from tests.normlab.training.packs.members import (
    STEPS,
    batches_of,
    built,
    distance,
    farthest,
    train_alone,
    train_packed,
)
from tests.normlab.training.recording import small_job

MODEL = {"name": "convnet", "width": 4}
OPTIMIZERS: Dict[str, Dict[str, Any]] = {
    "sgd": {"lr": 0.02, "weight_decay": 0.01},
    "sgd, nesterov": {"lr": 0.02, "nesterov": True, "decay_normalizers": True},
    "sgd without momentum": {"lr": 0.05, "momentum": 0.0},
    "sgd, rates by depth": {"lr": 0.02, "layer_decay": 0.5},
    "adamw": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.1},
    "rmsprop": {"name": "rmsprop", "lr": 1e-3, "momentum": 0.9, "weight_decay": 0.01},
}
KINDS = ["dyt", "filter_response", "streaming", {"kind": "group", "proxy": True}]

each_optimizer = pytest.mark.parametrize("name", list(OPTIMIZERS))


def members(name: str = "sgd", normalizer: Any = "batch", **fields: Any) -> List[JobSpec]:
    given = {"batch_size": 4, "model": MODEL, "optimizer": OPTIMIZERS[name], **fields}
    return [small_job(**given, normalizer=normalizer, seed=seed) for seed in (0, 5)]


@each_optimizer
def test_each_member_learns_as_it_does_alone(name: str) -> None:
    specs = members(name)
    nets = [built(spec, 8) for spec in specs]
    assert learn_alike(nets, specs)
    assert farthest(nets, specs, [batches_of(spec, 6, 8) for spec in specs]) < 1e-10


@pytest.mark.parametrize("normalizer", KINDS)
def test_kinds_with_parameters_of_their_own_learn_as_they_do_alone(normalizer: Any) -> None:
    specs = members(normalizer=normalizer)
    nets = [built(spec, 8) for spec in specs]
    assert farthest(nets, specs, [batches_of(spec, 6, 8) for spec in specs]) < 1e-10


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


@each_optimizer
@pytest.mark.parametrize("normalizer", ["dyt", "streaming"])
def test_the_same_members_go_on_bit_for_bit(name: str, normalizer: str) -> None:
    specs = members(name, normalizer)
    nets = [built(spec, 8).float() for spec in specs]
    batches = [[(x.float(), y) for x, y in batches_of(spec, 6, 8)] for spec in specs]
    whole = train_packed(nets, specs, batches)
    begun = train_packed(nets, specs, [batch[:3] for batch in batches])
    again = PackSession(nets, specs)
    for member in range(2):
        again.load_state_of(member, begun.state_of(member))
    for step in range(3, 6):
        again.prepare([spec.optimizer.lr for spec in specs], step / STEPS)
        xs, ys = zip(*(batch[step] for batch in batches))
        again.train(torch.stack(xs), torch.stack(ys))
    for member in range(2):
        found, right = again.state_of(member)["model"], whole.state_of(member)["model"]
        assert distance(found, right) == 0.0


@each_optimizer
def test_a_state_from_before_the_first_update_replaces_a_later_one(name: str) -> None:
    specs = members(name)
    nets = [built(spec, 8) for spec in specs]
    batches = [batches_of(spec, 3, 8) for spec in specs]
    session = train_packed(nets, specs, batches)
    session.load_state_of(1, PackSession(nets, specs).state_of(1))
    moments = session.state_of(1)["optimizer"]["state"].values()
    kept = [value for of in moments for key, value in of.items() if key != "step"]
    assert not any(torch.as_tensor(value).any() for value in kept)


@pytest.mark.parametrize(
    "other",
    [
        {"optimizer": {"lr": 0.03, "weight_decay": 0.01}},
        {"schedule": {"name": "constant"}},
        {"batch_size": 8},
        {"optimizer": {**OPTIMIZERS["sgd"], "clip_norm": 1.0}},
    ],
)
def test_members_with_numbers_of_their_own_do_not_learn_alike(other: Dict[str, Any]) -> None:
    specs = [members()[0], members(**other)[1]]
    assert not learn_alike([built(spec, 8) for spec in specs], specs)


def test_hints_of_a_normalizer_are_numbers_too() -> None:
    group = {"kind": "group", "groups": 2, "proxy": True}
    specs = [members(normalizer={**group, "proxy_weight_decay": decay})[0] for decay in (0.1, 0.2)]
    assert not learn_alike([built(spec, 8) for spec in specs], specs)


def test_a_limit_of_all_members_is_each_members_own() -> None:
    specs = members(optimizer={**OPTIMIZERS["sgd"], "clip_norm": 0.1})
    nets = [built(spec, 8) for spec in specs]
    assert not learn_alike(nets, specs)
    assert farthest(nets, specs, [batches_of(spec, 4, 8) for spec in specs]) < 1e-10


def test_different_rates_end_the_pack() -> None:
    specs = members()
    session = PackSession([built(spec, 8) for spec in specs], specs)
    with pytest.raises(PackFellApart, match="got different rates"):
        session.prepare([0.1, 0.2], 0.0)
