from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.nets import build
from normlab.nets.lstm import GATES
from normlab.norms.online import OnlineNorm
from normlab.specs.network_and_data import ModelSpec
from normlab.specs.normalizers import parse_normalizer

WIDTH, CLASSES, STEPS = 6, 5, 7
TAKEN: list[Any] = [
    "none", "layer", {"kind": "group", "groups": 2}, "online",
    {"kind": "online", "error_compensation": "clamp"}, {"kind": "layer", "affine": False},
    "rms", {"kind": "rms", "p": 0.5}, "dyt", {"kind": "filter_response", "learned_eps": True},
]  # fmt: skip


def make(normalizer: Any) -> Any:
    torch.manual_seed(0)
    model = ModelSpec(name="lstm", width=WIDTH)
    return build(model, parse_normalizer(normalizer), CLASSES, CLASSES, STEPS)


def text(n: int) -> Tensor:
    codes = torch.randint(CLASSES, (n, STEPS), generator=torch.Generator().manual_seed(1))
    return F.one_hot(codes, CLASSES).transpose(1, 2).float()


def test_without_a_normalizer_it_equals_torchs_own() -> None:
    ours = make("none")
    theirs = nn.LSTM(CLASSES, WIDTH, batch_first=True)
    order = torch.arange(4 * WIDTH).view(4, WIDTH)[[0, 1, 3, 2]].flatten()  # torch: i, f, g, o
    with torch.no_grad():
        ours.input.bias.normal_()
        for name, source in (("weight_ih", ours.input.weight), ("weight_hh", ours.state.weight),
                             ("bias_ih", ours.input.bias)):  # fmt: skip
            getattr(theirs, f"{name}_l0").copy_(source[order])
        theirs.bias_hh_l0.zero_()
        states, _ = theirs(text(3).transpose(1, 2))
        expected = F.linear(states, ours.head.weight, ours.head.bias).transpose(1, 2)
        torch.testing.assert_close(ours(text(3)), expected)


@pytest.mark.parametrize("normalizer", TAKEN)
def test_later_characters_do_not_change_earlier_outputs(normalizer: Any) -> None:
    model = make(normalizer).eval()
    x = text(2)
    other = x.clone()
    other[:, :, 4:] = x[:, :, 4:].roll(1, dims=1)
    assert torch.equal(model(x)[:, :, :4], model(other)[:, :, :4])
    assert not torch.equal(model(x)[:, :, 4], model(other)[:, :, 4])


@pytest.mark.parametrize("normalizer", TAKEN)
def test_it_trains(normalizer: Any) -> None:
    model = make(normalizer)
    model(text(3)).square().sum().backward()
    lost = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert lost == []


@pytest.mark.parametrize(
    ("normalizer", "alone"),
    [("layer", nn.LayerNorm(WIDTH)), ({"kind": "group", "groups": 2}, nn.GroupNorm(2, WIDTH))],
)
def test_each_gate_is_normalized_separately(normalizer: Any, alone: nn.Module) -> None:
    gates = torch.randn(3, 4 * WIDTH)
    expected = torch.cat([alone(gate) for gate in gates.chunk(4, dim=1)], dim=1)
    torch.testing.assert_close(make(normalizer).norm(gates, 0), expected)


@pytest.mark.parametrize("p", [1.0, 0.5])
def test_each_gate_is_divided_by_its_own_mean_square(p: float) -> None:
    gates = torch.randn(3, 4, WIDTH)
    squares = gates[:, :, : int(WIDTH * p)].square().mean(2, keepdim=True)
    expected = (gates / (squares + 1e-5).sqrt()).flatten(1)
    torch.testing.assert_close(make({"kind": "rms", "p": p}).norm(gates.flatten(1), 0), expected)


def test_online_over_all_gates_equals_four_separate_layers() -> None:
    norm = make("online").norm
    four = [OnlineNorm(WIDTH, dims=1) for _ in range(4)]
    for _ in range(3):
        gates = torch.randn(3, 4 * WIDTH)
        together = norm(gates, 2)
        apart = torch.cat([n(g) for n, g in zip(four, gates.chunk(4, dim=1))], dim=1)
        torch.testing.assert_close(together, apart)
        together.square().sum().backward()
        apart.square().sum().backward()


def test_online_keeps_statistics_for_each_step_and_one_affine_for_all() -> None:
    model = make("online")
    model(text(4)).sum().backward()
    layers = [m for m in model.modules() if isinstance(m, OnlineNorm)]
    assert len(layers) == STEPS
    assert all(layer.weight is layers[0].weight for layer in layers)
    assert not torch.equal(layers[1].mu, layers[2].mu)
    assert len(list(model.norm.parameters())) == 2


def test_over_gates_keeps_a_requested_size() -> None:
    spec: Any = parse_normalizer({"kind": "online", "layer_scaling_group_size": 3})
    assert spec.over_gates(GATES, WIDTH) == spec


@pytest.mark.parametrize(
    ("normalizer", "says"),
    [
        ("batch", "batch statistics"),
        ("streaming", "batch statistics"),
        ("switchable", "batch statistics"),
        ("instance", "one value"),
        ("filter_response", "one value"),
        ("evonorm_s0", "an activation as well"),
        ("weight", "filters"),
        ("bounded_weight", "filters"),
        ("weight_standardized", "filters"),
        ("scaled_weight_standardized", "filters"),
        ({"kind": "layer", "proxy": True}, "set proxy to false"),
        ({"kind": "group", "grouping": "strided"}, "contiguous"),
        ({"kind": "group", "groups": 4}, "divide"),
    ],
)
def test_a_kind_that_cannot_normalize_gates_gives_the_reason(normalizer: Any, says: str) -> None:
    with pytest.raises(InvalidSpec, match=says):
        make(normalizer)
