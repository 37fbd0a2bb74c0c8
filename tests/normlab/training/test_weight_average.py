"""The moving average of weights: its formula, and that evaluations and the file use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from normlab.data import load
from normlab.nets import build
from normlab.specs.optimization import AverageSpec
from normlab.training.weight_average import WeightAverage
from tests.normlab.training.recording import small_job, train


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))


def changed(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(value)


def values(average: WeightAverage) -> set[float]:
    """Return the distinct values of all weights and statistics."""
    state = average.model.state_dict()
    floats = [value for value in state.values() if value.is_floating_point()]
    return {round(x, 5) for value in floats for x in value.flatten().tolist()}


def test_weights_and_running_statistics_are_averaged_and_counts_copied() -> None:
    model = net()
    changed(model, 1)
    average = WeightAverage(model, AverageSpec(decay=0.75))
    for value in (5, 9):
        changed(model, value)
        average.follow(0.0)
    # 1 -> .75 + .25 * 5 = 2 -> 1.5 + .25 * 9
    assert values(average) == {3.75}
    assert int(average.model.state_dict()["1.num_batches_tracked"]) == 9
    assert not average.model.training


def test_it_is_a_copy_until_its_start_and_then_moves_at_every_so_many_updates() -> None:
    model = net()
    average = WeightAverage(model, AverageSpec(decay=0.5, every=2, start=0.25))
    found = []
    for i in range(6):  # of 8 updates: the first two come before a quarter
        changed(model, float(i))
        average.follow(i / 8)
        found.append(values(average))
    # a copy of 0 and 1; the fourth and the sixth move: 1 -> (1 + 3) / 2 -> (2 + 5) / 2
    assert found == [{0.0}, {1.0}, {1.0}, {2.0}, {2.0}, {3.5}]


def test_it_continues_from_its_state() -> None:
    model = net()
    average = WeightAverage(model, AverageSpec(decay=0.5, every=2))
    changed(model, 3.0)
    average.follow(0)
    again = WeightAverage(net(), AverageSpec(decay=0.5, every=2))
    again.load_state_dict(average.state_dict())
    assert values(again) == values(average)
    assert again.state_dict()["updates"] == 1


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("averaged")
    spec = small_job(ema={"decay": 0.9})
    recorder, summary = train(spec, folder)
    plain = train(small_job(), tmp_path_factory.mktemp("plain"))
    return spec, folder, recorder, summary, plain


def test_averaging_changes_no_update_and_every_evaluation(averaged: Any) -> None:
    _, _, recorder, _, (plain, _) = averaged
    assert recorder.points["train/loss"] == plain.points["train/loss"]
    assert recorder.points["val/loss"] != plain.points["val/loss"]


def test_the_written_weights_are_those_of_the_last_evaluation(averaged: Any) -> None:
    spec, folder, _, summary, _ = averaged
    data = load(spec.dataset, Path())
    model = build(spec.model, spec.normalizer, data.channels, data.num_classes, data.image_size)
    model.load_state_dict(safetensors.torch.load_file(folder / "weights.safetensors"))
    logits = model.eval()(data.standardize(data.test.x)).detach()
    accuracy = int((logits.argmax(1) == data.test.y).sum()) / len(data.test)
    assert accuracy == summary["val/accuracy"]
    loss = float(nn.functional.cross_entropy(logits, data.test.y))
    assert loss == pytest.approx(summary["val/loss"], rel=1e-5)
