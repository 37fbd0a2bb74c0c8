"""A member of a pack ends with the weights of the same training alone, for every kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from normlab.norms import activation_norms
from normlab.specs.normalizers import BY_KIND, parse_normalizer
from normlab.training.packs.packing import pack
from normlab.training.packs.per_member import PerMember
from tests.normlab.training.packs.members import (
    batches_of,
    distance,
    farthest,
    net_of,
    train_alone,
    train_packed,
    two_members,
)
from tests.normlab.training.recording import small_job
from tests.norms.matrix import KINDS

VARIANTS = {
    **KINDS,
    **{kind: (kind, None) for kind in BY_KIND.own if BY_KIND.own[kind].layer is None},
    "bounded_weight, learned": ({"kind": "bounded_weight", "rho": "learned"}, None),
    "bounded_weight, largest": ({"kind": "bounded_weight", "p": "inf", "renormalize": True}, None),
    "weight, all layers": ({"kind": "weight", "include_linear": True}, None),
    "meta, groups": ({"kind": "meta", "channels": "groups", "groups": 2}, None),
    "meta, all": ({"kind": "meta", "channels": "all"}, None),
    "streaming, proxy": ({"kind": "streaming", "proxy": True}, None),
    "switchable, ghost batches": ({"kind": "switchable", "virtual_batch_size": 2}, None),
}
# kinds whose layers have states of their own in Python, or sums over all channels in turns
ALONE = {
    *(kind for kind, spec in BY_KIND.own.items() if spec.packed_by_member),
    "streaming, ghost batches",
    "streaming, proxy",
    "sparse_switchable, reference",
    "switchable, averaged",
    "group, strided",
    "weight, all layers",
}

each_variant = pytest.mark.parametrize("name", list(VARIANTS))


def nets(name: str) -> Any:
    normalizer, activation = VARIANTS[name]
    return [net_of(normalizer, activation, seed) for seed in (0, 5)]


@each_variant
def test_a_member_of_a_pack_equals_the_training_alone(name: str) -> None:
    specs = two_members(normalizer=parse_normalizer(VARIANTS[name][0]))
    updates = 50 if name in BY_KIND else 10  # a variant differs in its options
    batches = [batches_of(spec, updates) for spec in specs]
    assert farthest(nets(name), specs, batches) < 1e-10


@each_variant
def test_a_kind_runs_as_one_layer_unless_it_is_known_to_run_by_member(name: str) -> None:
    layers = [m for m in pack(nets(name)).modules() if isinstance(m, PerMember)]
    assert bool(layers) == (name in ALONE)


def test_members_with_other_options_of_a_kind_run_their_own_layers() -> None:
    specs = [
        two_members(normalizer={"kind": "batch", "eps": eps})[i]
        for i, eps in enumerate((1e-5, 1e-3))
    ]
    made = [net_of(spec.normalizer, None, spec.seed) for spec in specs]
    wide = pack(made)
    assert sum(isinstance(m, PerMember) for m in wide.modules()) == 2
    assert {norm.eps for norm in activation_norms(wide)} == {1e-5, 1e-3}
    assert farthest(made, specs, [batches_of(spec, 10) for spec in specs]) < 1e-10


UNLIKE = {
    "batch": ({"kind": "batch"}, {"kind": "batch", "virtual_batch_size": 2}),
    "batch, momenta": (
        {"kind": "batch", "momentum": 0.2},
        {"kind": "batch", "momentum": 0.3, "virtual_batch_size": 2},
    ),
    "group": ({"kind": "group", "groups": 4}, {"kind": "group", "groups": 2}),
    "group, proxy": (
        {"kind": "group", "groups": 4, "proxy": True},
        {"kind": "group", "groups": 2, "proxy": True},
    ),
    "online": ({"kind": "online"}, {"kind": "online", "eps": 1e-2}),
    "streaming": ({"kind": "streaming"}, {"kind": "streaming", "eps": 1e-2}),
    "topk_batch": ({"kind": "topk_batch", "k": 4}, {"kind": "topk_batch", "k": 6}),
}


@pytest.mark.parametrize("limits", [{}, {"clip_norm": 0.5}])  # with and without a joint optimizer
@pytest.mark.parametrize("name", list(UNLIKE))
def test_members_of_equal_options_share_a_layer_beside_those_of_others(
    name: str, limits: Any
) -> None:
    one, other = (parse_normalizer(options) for options in UNLIKE[name])
    optimizer = {"lr": 0.02, "momentum": 0.8, "weight_decay": 1e-3, **limits}
    specs = [
        small_job(batch_size=4, optimizer=optimizer, seed=seed, normalizer=normalizer)
        for seed, normalizer in enumerate((one, one, other, other, one))
    ]
    made = [net_of(spec.normalizer, None, spec.seed) for spec in specs]
    places = [m for m in pack(made).modules() if isinstance(m, PerMember)]
    own = [[1, 1]] * 2 if name == "streaming" else []  # whose layers are each member's own
    assert [place.members for place in places] == [[2, 2, 1], *own] * 2
    assert farthest(made, specs, [batches_of(spec, 10) for spec in specs]) < 1e-10


@pytest.mark.parametrize("kind", [kind for kind, of in BY_KIND.own.items() if of.packed_options])
@pytest.mark.parametrize("options", [{}, {"virtual_batch_size": 2}])
def test_members_with_momenta_of_their_own_share_a_layer(kind: str, options: Any) -> None:
    given = [{"kind": kind, "momentum": momentum, **options} for momentum in (0.1, 0.3)]
    specs = [two_members(normalizer=normalizer)[i] for i, normalizer in enumerate(given)]
    made = [net_of(spec.normalizer, None, spec.seed) for spec in specs]
    assert not any(isinstance(m, PerMember) for m in pack(made).modules())
    assert farthest(made, specs, [batches_of(spec, 10) for spec in specs]) < 1e-10


def test_an_average_of_all_batches_does_not_share_a_layer_with_a_momentum() -> None:
    given = [{"kind": "batch", "momentum": momentum} for momentum in (0.1, None)]
    specs = [two_members(normalizer=normalizer)[i] for i, normalizer in enumerate(given)]
    made = [net_of(spec.normalizer, None, spec.seed) for spec in specs]
    assert any(isinstance(m, PerMember) for m in pack(made).modules())
    assert farthest(made, specs, [batches_of(spec, 10) for spec in specs]) < 1e-10


@pytest.mark.parametrize("name", [*BY_KIND.own, "batch, averaged"])
def test_a_member_whose_values_overflow_does_not_touch_the_others(name: str) -> None:
    specs = two_members(normalizer=parse_normalizer(VARIANTS[name][0]))
    batches = [batches_of(spec, 10) for spec in specs]
    batches[0][5] = (torch.full_like(batches[0][5][0], 1e200), batches[0][5][1])
    made = nets(name)
    packed = train_packed(made, specs, batches).state_of(1)["model"]
    assert distance(packed, train_alone(made[1], specs[1], batches[1])["model"]) < 1e-10
