"""The networks that can be packed, and those that are refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from normlab.errors import InvalidSpec
from normlab.training.packs.network import PackedNetwork
from normlab.training.packs.session import PackSession
from tests.normlab.training.packs.members import (
    batches_of,
    built,
    distance,
    farthest,
    train_alone,
    train_packed,
    two_members,
)
from tests.normlab.training.recording import small_job

SCENES = {"name": "scenes32"}


@pytest.mark.parametrize(
    ("name", "side", "normalizer"),
    [
        ("convnet", 8, "batch"),
        ("preresnet8", 16, {"kind": "group", "groups": 2, "proxy": True}),
        ("resnet20", 8, "layer"),
        ("resnet18", 32, "rms"),
    ],
)
def test_networks_of_ours_equal_those_alone(name: str, side: int, normalizer: object) -> None:
    specs = two_members(normalizer=normalizer, model={"name": name, "width": 4})
    nets = [built(spec, side) for spec in specs]
    assert farthest(nets, specs, [batches_of(spec, 4, side) for spec in specs]) < 1e-10


@pytest.mark.parametrize("normalizer", ["batch", "weight"])
def test_a_u_net_joins_the_maps_of_each_member(normalizer: str) -> None:
    model = {"name": "unet", "width": 4}
    specs = [
        spec.model_copy(update={"label_smoothing": 0.0})
        for spec in two_members(normalizer=normalizer, model=model, dataset=SCENES)
    ]
    nets = [built(spec, 10) for spec in specs]
    batches = [batches_of(spec, 4, side=10, dense=True) for spec in specs]
    assert farthest(nets, specs, batches) < 1e-10


def test_a_network_without_a_packed_form_is_refused_by_name() -> None:
    with pytest.raises(InvalidSpec, match="1 is a Dropout, which has no packed form"):
        PackedNetwork([nn.Sequential(nn.Linear(2, 2), nn.Dropout()) for _ in range(2)])


def test_members_go_on_alone_from_the_state_of_a_pack_and_come_back() -> None:
    specs = two_members(normalizer="batch", model={"name": "convnet", "width": 4})
    nets = [built(spec, 8) for spec in specs]
    batches = [batches_of(spec, 6, 8) for spec in specs]
    whole = train_packed(nets, specs, batches)
    begun = train_packed(nets, specs, [batch[:3] for batch in batches])
    again = PackSession(nets, specs)
    for member in range(2):
        again.load_state_of(member, begun.state_of(member))
    for step in range(3, 6):
        again.prepare([spec.optimizer.lr for spec in specs], step / 400)
        xs, ys = zip(*(batch[step] for batch in batches))
        again.train(torch.stack(xs), torch.stack(ys))
    for member in range(2):
        found = again.state_of(member)["model"]
        assert distance(found, whole.state_of(member)["model"]) == 0.0


def test_float32_members_follow_the_trainings_alone_to_rounding() -> None:
    specs = two_members(normalizer="group", model={"name": "convnet", "width": 4})
    nets = [built(spec, 8).float() for spec in specs]
    batches = [[(x.float(), y) for x, y in batches_of(spec, 5, 8)] for spec in specs]
    packed = train_packed(nets, specs, batches)
    for member, (net, spec) in enumerate(zip(nets, specs)):
        alone = train_alone(net, spec, batches[member])["model"]
        assert distance(packed.state_of(member)["model"], alone) < 1e-5


def test_an_evaluation_gives_each_member_its_own_loss_and_accuracy() -> None:
    specs = two_members(normalizer="batch", model={"name": "convnet", "width": 4})
    nets = [built(spec, 8) for spec in specs]
    session = PackSession(nets, specs)
    x, y = batches_of(small_job(batch_size=16), 1, 8)[0]
    results = session.evaluate(x, y)
    for net, spec, result in zip(nets, specs, results):
        logits = net.eval()(x)
        smoothed = nn.functional.cross_entropy(logits, y, label_smoothing=spec.label_smoothing)
        torch.testing.assert_close(result.loss, smoothed)
        assert int(result.correct) == int((logits.argmax(1) == y).sum())
