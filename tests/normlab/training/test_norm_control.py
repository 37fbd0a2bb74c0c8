"""Norms of one training steer another, as in the published optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from normlab.errors import InvalidSpec
from normlab.specs.job_rules import check
from normlab.specs.optimizers import SGD
from normlab.training.norm_control import NormControl
from normlab.training.optimizers import make_optimizer
from tests.normlab.training.recording import Recorder, small_job, train
from tests.normlab.training.test_resume import check_resume
from tests.norms.golden import Golden, assert_same

TWIN = {"name": "sgd", "weight_decay": 1e-2, "norms_of": "twin"}


def norms_from(recorder: Recorder) -> list[dict[str, list[float]]]:
    records = [e.record for e in recorder.events("Diagnostic") if e.name == "weight_norms"]
    assert [record["epoch"] for record in records] == list(range(len(records)))
    return [record["norms"] for record in records]


@pytest.fixture(scope="module")
def decayed(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    spec = small_job(diagnostics=["weight_norms"], optimizer={"name": "sgd", "weight_decay": 1e-2})
    return train(spec, tmp_path_factory.mktemp("decayed"))[0]


@pytest.mark.parametrize("name", ["lrcorrection_mom0", "lrcorrection_mom09"])
def test_rate_mode_makes_the_published_updates(name: str) -> None:
    golden = Golden(name)
    conv, last = nn.Conv2d(3, 5, 3, bias=False), nn.Linear(1, 4)
    model = nn.Sequential(conv, last).double()
    with torch.no_grad():
        conv.weight.copy_(golden["w0"])
        last.bias.copy_(golden["b0"])
    sgd = torch.optim.SGD([conv.weight, last.bias], **golden.arguments["args"])
    norms = [{"0": row.tolist()} for row in golden["wd_norms"]]
    control = NormControl(model, SGD(norms_of="twin"), norms)
    control.attach(sgd)
    for epoch in range(len(norms)):
        conv.weight.grad, last.bias.grad = golden["g_w"][epoch], golden["g_b"][epoch]
        control.enter_epoch(epoch)
        sgd.step()
        assert_same(conv.weight, golden["w_after"][epoch], 1e-11)
        assert_same(last.bias, golden["b_after"][epoch], 1e-11)


def steered(optimizer: SGD, recorded: list[float]) -> torch.Tensor:
    """Add 1 to weights of norms 2, 0 and 4 (4 values per channel) under *recorded* norms."""
    conv = nn.Conv2d(1, 3, 2, bias=False)
    model = nn.Sequential(conv, nn.Linear(3, 1))
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([1.0, 0.0, 2.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2))
    sgd = torch.optim.SGD(model.parameters(), lr=1)
    NormControl(model, optimizer, [{"0": recorded}]).attach(sgd)
    conv.weight.grad = -torch.ones_like(conv.weight)
    sgd.step()
    return conv.weight[:, 0, 0, 0].detach()


def test_the_limit_holds_the_ratio_of_a_dead_channel() -> None:
    free = steered(SGD(norms_of="twin"), [1.0, 1.0, 1e-9])
    assert free.tolist() == pytest.approx([5, 0, 2 + 1.6e19])
    held = steered(SGD(norms_of="twin", norm_ratio_limit=10), [1.0, 1.0, 1e-9])
    assert held.tolist() == pytest.approx([5, 0.1, 12])


def test_a_nan_in_an_update_becomes_zero() -> None:
    assert steered(SGD(norms_of="twin"), [2.0, 0.0, 4.0]).tolist() == [2, 0, 3]


def test_schedule_mode_gives_the_recorded_norms() -> None:
    found = steered(SGD(norms_of="twin", norm_mode="schedule"), [6.0, 7.0, 8.0])
    assert (found * 2).tolist() == pytest.approx([6, 7, 8])


@pytest.mark.parametrize("mode", ["rate", "schedule"])
def test_a_steered_job_has_other_results_and_resumes_with_the_same_bits(
    mode: str, decayed: Recorder, tmp_path: Path
) -> None:
    fields = {"optimizer": {**TWIN, "norm_mode": mode}}
    norms = norms_from(decayed)
    check_resume(tmp_path, fields, norms=norms)
    recorder, _ = train(small_job(**fields, diagnostics=["weight_norms"]), tmp_path, norms=norms)
    assert recorder.points["train/loss"] != decayed.points["train/loss"]
    if mode == "schedule":
        for name, row in norms_from(recorder)[-1].items():
            assert row == pytest.approx(norms[-1][name], rel=1e-5)


def test_norms_that_a_training_recorded_itself_correct_little(tmp_path: Path) -> None:
    # Without weight decay and with tiny steps both trainings have the same norms: ratio 1.
    fields: dict[str, Any] = {"epochs": 1, "schedule": "constant", "diagnostics": ["weight_norms"]}
    plain, _ = train(small_job(**fields, optimizer={"lr": 1e-4}), tmp_path / "plain")
    again = small_job(**fields, optimizer={"lr": 1e-4, "norms_of": "twin"})
    steered, _ = train(again, tmp_path / "again", norms=norms_from(plain))
    losses = [[v for _, v in r.points["train/loss"]] for r in (plain, steered)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


def test_steered_layers_do_not_decay_and_the_last_does() -> None:
    conv, last = nn.Conv2d(1, 3, 2), nn.Linear(3, 2)
    groups = make_optimizer(nn.Sequential(conv, last), small_job(optimizer=TWIN)).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decay[id(conv.weight)] == 0
    assert decay[id(last.weight)] == 1e-2


def test_missing_or_foreign_norms_are_refused(decayed: Recorder, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="were not given"):
        train(small_job(optimizer=TWIN), tmp_path)
    with pytest.raises(InvalidSpec, match="same model"):
        train(small_job(optimizer=TWIN), tmp_path, norms=[{"0": [1.0]}] * 2)
    with pytest.raises(InvalidSpec, match="2 epochs were recorded"):
        train(small_job(optimizer=TWIN, epochs=3), tmp_path, norms=norms_from(decayed))


def test_only_a_twin_or_a_job_can_be_named_and_only_where_weights_can_be_steered() -> None:
    with pytest.raises(ValueError, match="norms_of"):
        small_job(optimizer={"norms_of": "nobody"})
    for fields in ({"device": "ipu"}, {"replicas": 2}, {"normalizer": "weight"}):
        problems = check(small_job(optimizer=TWIN, **fields), None)
        assert "optimizer.norms_of" in [p.field for p in problems]


def test_a_job_without_norms_of_keeps_its_fingerprint() -> None:
    plain = small_job(optimizer={"weight_decay": 1e-2})
    steered = small_job(optimizer={"weight_decay": 1e-2, "norms_of": "twin"})
    assert small_job(optimizer={"weight_decay": 1e-2, "norm_mode": "schedule"}).fingerprint() == (
        plain.fingerprint()
    )
    assert steered.fingerprint() != plain.fingerprint() == steered.twin().fingerprint()
