"""The vision transformer and the ConvNeXt of our own size learn pictures of shapes32."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from normlab.data import Data, Split
from normlab.data.drawing import EASY
from normlab.data.shapes32 import draw
from normlab.specs.jobs import JobSpec
from normlab.training import loop
from tests.normlab.training.recording import train

CLASSES, TRAIN, TEST = 16, 32, 16
KINDS = ["layer", "rms", {"kind": "dyt", "alpha": 2}, "batch"]


@pytest.fixture(scope="module")
def shapes() -> Data:
    """Draw the first pictures of shapes32, and no others."""
    x, y = draw(TRAIN + TEST, seed=1, nuisance=EASY)
    middle, deviation = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    x = (x - middle) / deviation
    splits = Split(x[:TRAIN], y[:TRAIN]), Split(x[TRAIN:], y[TRAIN:])
    return Data(*splits, CLASSES, moments=(middle, deviation))


def job(name: str, width: int, kind: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "normalizer": kind,
            "model": {"name": name, "width": width},
            "dataset": {"name": "shapes32", "train_size": TRAIN, "test_size": TEST},
            "device": "cpu",
            "batch_size": 16,
            "epochs": 20,
            "optimizer": {"name": "adamw", "lr": 0.01},
            "schedule": "constant",
            "checkpoint": {"every_s": 3600},
        }
    )


@pytest.mark.parametrize("kind", KINDS, ids=["layer", "rms", "dyt", "batch"])
@pytest.mark.parametrize(("name", "width"), [("vit", 16), ("convnext", 8)])
def test_it_learns_with_each_of_its_usual_normalizers(
    name: str, width: int, kind: Any, shapes: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "opened", lambda *_: nullcontext(shapes))  # not all of shapes32
    recorder, summary = train(job(name, width, kind), tmp_path)
    assert isinstance(summary, dict)
    losses, accuracies = (
        [value for _, value in recorder.points[metric]]
        for metric in ("train/loss", "train/accuracy")
    )
    assert mean(losses[-2:]) < 0.85 * losses[0]
    assert mean(accuracies[-2:]) > 4 / CLASSES  # four times chance
