from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from normlab.data import load
from normlab.specs.datasets import DATASETS
from normlab.specs.measures import METRICS
from normlab.specs.models import MODELS
from normlab.specs.tasks import TASKS
from normlab.training.style import STYLE as STYLE_LOSS
from normlab.training.tasks import jaccard, overlaps, perplexity, surprise
from tests.normlab.training.recording import small_job, train

SEGMENTATION: dict[str, Any] = {
    "normalizer": "batch",
    "model": {"name": "unet", "width": 4},
    "dataset": {"name": "scenes32", "train_size": 16, "test_size": 9},
    "batch_size": 2,
}
LANGUAGE: dict[str, Any] = {
    "normalizer": "layer",
    "model": {"name": "lstm", "width": 8},
    "dataset": {"name": "grammar", "train_size": 24, "test_size": 9},
    "batch_size": 4,
}
DETECTION: dict[str, Any] = {
    "normalizer": "group",
    "model": {"name": "detector", "width": 8},
    "dataset": {"name": "objects32", "train_size": 16, "test_size": 9},
    "batch_size": 2,
}
STYLE: dict[str, Any] = {
    "normalizer": "instance",
    "model": {"name": "stylizer", "width": 4},
    "dataset": {"name": "textures32", "train_size": 16, "test_size": 9},
    "batch_size": 2,
}
EXAMPLES = {
    "segmentation": SEGMENTATION,
    "language": LANGUAGE,
    "detection": DETECTION,
    "style": STYLE,
}
"""A small job of each task besides classification."""


def as_logits(predicted: list[int], classes: int) -> torch.Tensor:
    """Return logits (1, K, T) whose largest are at *predicted*."""
    return torch.nn.functional.one_hot(torch.tensor([predicted]), classes).transpose(1, 2).float()


def test_every_model_and_dataset_has_a_task_that_another_one_has_too() -> None:
    assert {facts.task for facts in MODELS.values()} == set(TASKS)
    assert {facts.task for facts in DATASETS.values()} == set(TASKS)


def test_every_measure_that_a_task_names_exists() -> None:
    assert {name for facts in TASKS.values() for name in facts.measures} == set(METRICS)


def test_jaccard_is_the_mean_over_classes_of_shared_over_any() -> None:
    true = torch.tensor([[0, 0, 0, 1, 1, 2]])
    counts = overlaps(as_logits([0, 0, 1, 1, 1, 0], 4), true)
    assert counts.tolist() == [[2, 4], [2, 3], [0, 1], [0, 0]]
    # class 3 does not occur, and does not count
    assert jaccard(counts) == pytest.approx((2 / 4 + 2 / 3 + 0) / 3)


def test_counts_of_batches_add_up_to_those_of_all() -> None:
    logits, y = torch.randn(6, 3, 4, 4), torch.randint(3, (6, 4, 4))
    parts = overlaps(logits[:2], y[:2]) + overlaps(logits[2:], y[2:])
    assert torch.equal(parts, overlaps(logits, y))


def test_perplexity_of_a_uniform_guess_is_the_number_of_classes() -> None:
    sums = surprise(torch.zeros(2, 7, 5), torch.randint(7, (2, 5)))
    assert sums[1] == 10
    assert perplexity(sums) == pytest.approx(7)


def test_perplexity_ignores_label_smoothing(tmp_path: Path) -> None:
    found = {}
    for smoothing in (0.0, 0.3):
        fields = {**LANGUAGE, "epochs": 1, "max_steps": 1, "optimizer": {"name": "sgd", "lr": 1e-9}}
        _, summary = train(small_job(label_smoothing=smoothing, **fields), tmp_path)
        assert isinstance(summary, dict)
        found[smoothing] = summary
    assert found[0.3]["val/perplexity"] == pytest.approx(found[0.0]["val/perplexity"])
    assert math.exp(found[0.0]["val/loss"]) == pytest.approx(found[0.0]["val/perplexity"], rel=1e-4)


@pytest.mark.parametrize(
    ("fields", "measure"), [(SEGMENTATION, "val/jaccard"), (LANGUAGE, "val/perplexity")]
)
def test_a_job_reports_its_tasks_measure_after_loss_and_accuracy(
    fields: dict[str, Any], measure: str, tmp_path: Path
) -> None:
    recorder, summary = train(small_job(**fields), tmp_path)
    assert isinstance(summary, dict)
    found = [name for name in recorder.points if name.startswith("val/")]
    assert found == ["val/loss", "val/accuracy", measure]
    assert 0 <= summary["val/accuracy"] <= 1
    assert 0 <= summary["train/accuracy"] <= 1
    losses = [value for _, value in recorder.points["train/loss"]]
    classes = 5 if measure == "val/jaccard" else 27
    assert losses[0] == pytest.approx(math.log(classes), abs=0.2)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("fields", "measures"),
    [(DETECTION, ["val/map", "val/map50"]), (STYLE, ["val/content_loss", "val/style_loss"])],
    ids=["detection", "style"],
)
def test_a_task_without_correct_predictions_reports_its_measures_and_no_accuracy(
    fields: dict[str, Any], measures: list[str], tmp_path: Path
) -> None:
    recorder, summary = train(small_job(**fields), tmp_path)
    assert isinstance(summary, dict)
    found = [name for name in recorder.points if name.startswith("val/")]
    assert found == ["val/loss", *measures]
    assert "train/accuracy" not in summary
    losses = [value for _, value in recorder.points["val/loss"]]
    assert losses[-1] < losses[0]


def test_a_detector_learns_to_find_objects_with_two_pictures_per_batch(tmp_path: Path) -> None:
    fields = {
        **DETECTION,
        "dataset": {"name": "objects32", "train_size": 400, "test_size": 100},
        "optimizer": {"name": "adamw", "lr": 0.003},
        "schedule": {"name": "cosine", "warmup_epochs": 0.2},
        "epochs": 3,
        "evaluate_every": 3,
    }
    _, summary = train(small_job(**fields), tmp_path)
    assert isinstance(summary, dict)
    assert summary["val/map50"] > 0.1


def test_a_stylizer_has_half_of_the_style_loss_of_grey_after_a_hundred_updates(
    tmp_path: Path,
) -> None:
    dataset = {"name": "textures32", "train_size": 100, "test_size": 20}
    optimizer = {"name": "adamw", "lr": 0.005}
    spec = small_job(**{**STYLE, "dataset": dataset, "optimizer": optimizer, "epochs": 2})
    _, summary = train(spec, tmp_path)
    assert isinstance(summary, dict)
    wanted = load(spec.dataset, tmp_path).test.y
    grey = STYLE_LOSS.value(STYLE_LOSS.tally(torch.zeros(20, 3, 32, 32), wanted))
    assert summary["val/style_loss"] < 0.5 * grey
