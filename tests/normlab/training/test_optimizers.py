from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from normlab.nets import build
from normlab.specs.jobs import JobSpec
from normlab.specs.optimizers import SGD, AdamW
from normlab.training.optimizers import make_optimizer, parameter_groups, scaled_rate


def job(normalizer: Any = "batch", **optimizer: Any) -> JobSpec:
    options = {"name": "sgd", "weight_decay": 0.5, **optimizer}
    return JobSpec.model_validate({"normalizer": normalizer, "optimizer": options})


def net(spec: JobSpec) -> nn.Module:
    return build(spec.model, spec.normalizer, 3, 16, 32)


def decays(spec: JobSpec) -> dict[str, float]:
    model = net(spec)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, spec)
    found = {names[p]: float(group["weight_decay"]) for group in groups for p in group["params"]}
    assert found.keys() == set(names.values())  # each parameter once
    return found


def test_matrices_and_filters_decay_and_nothing_else() -> None:
    found = decays(job())
    assert found["0.weight"] == 0.5  # the stem
    assert found["6.weight"] == 0.5  # the linear layer
    assert found["6.bias"] == 0
    assert {wd for name, wd in found.items() if "norm" in name} == {0.0}


def test_everything_decays_if_asked() -> None:
    assert set(decays(job(decay_normalizers=True)).values()) == {0.5}


def test_the_proxys_extra_mean_and_scale_decay_by_their_own_constant() -> None:
    spec = job({"kind": "group", "proxy": True, "proxy_weight_decay": 0.25})
    found = decays(spec)
    own = {name for name, wd in found.items() if wd == 0.25}
    assert own == {name for name in found if "proxy_" in name}
    assert len(own) == 2 * 7


def test_the_lengths_of_normalized_weights_do_not_decay() -> None:
    found = decays(job("weight"))
    assert found["0.parametrizations.weight.original0"] == 0
    assert found["0.parametrizations.weight.original1"] == 0.5


def test_the_logits_of_a_sparse_switch_learn_ten_times_slower() -> None:
    spec = job("sparse_switchable")
    groups = make_optimizer(net(spec), spec).param_groups
    assert {group["lr_factor"] for group in groups} == {1.0, 0.1}


def test_a_learning_rate_without_a_reference_is_taken_as_it_is() -> None:
    rate = scaled_rate(SGD(lr=0.3, momentum=0.8), 4096)
    assert (rate.learning_rate, rate.momentum) == (0.3, 0.8)


@pytest.mark.parametrize(
    ("scaling", "learning_rate", "momentum"),
    [
        ("linear", 0.025, 0.9),
        ("square_root", 0.05, 0.9),
        # m = 0.9^(1/4) = 0.97400; lr = 0.1 / 4 * (1 - m) / (1 - 0.9)
        ("time_constant", 0.025 * (1 - 0.9**0.25) / 0.1, 0.9**0.25),
    ],
)
def test_the_rate_follows_the_batch_by_its_rule(
    scaling: Any, learning_rate: float, momentum: float
) -> None:
    rate = scaled_rate(SGD(lr=0.1, lr_reference_batch=32, batch_scaling=scaling), 8)
    assert rate.learning_rate == pytest.approx(learning_rate)
    assert rate.momentum == pytest.approx(momentum)


def test_at_the_reference_batch_every_rule_changes_nothing() -> None:
    for scaling in ("linear", "square_root", "time_constant"):
        rate = scaled_rate(SGD(lr=0.1, lr_reference_batch=32, batch_scaling=scaling), 32)
        assert rate.learning_rate == pytest.approx(0.1)
        assert rate.momentum == pytest.approx(0.9)


def test_adamw_has_no_momentum_to_scale() -> None:
    assert scaled_rate(AdamW(lr=0.1, lr_reference_batch=32), 64).momentum is None


@pytest.mark.parametrize("name", ["sgd", "adamw", "rmsprop"])
def test_each_optimizer_goes_downhill(name: str) -> None:
    spec = job(name=name, lr=0.01)
    torch.manual_seed(0)
    model, x, y = net(spec), torch.randn(16, 3, 32, 32), torch.arange(16)
    optimizer = make_optimizer(model, spec)
    losses = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(model(x), y)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["sgd", "adamw", "rmsprop"])
def test_an_update_counts_up_the_parameters_versions(name: str) -> None:
    spec = job(name=name)
    model = net(spec)
    optimizer = make_optimizer(model, spec)
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    before = [p._version for p in model.parameters()]
    optimizer.step()
    assert all(p._version > v for p, v in zip(model.parameters(), before))
