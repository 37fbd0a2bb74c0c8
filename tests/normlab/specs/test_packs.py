"""Which jobs can form one pack, and which field prevents it for the others."""

from __future__ import annotations

from typing import Any, Dict

import pytest

from normlab.specs.jobs import JobSpec
from normlab.specs.packs import obstacle

PLAIN: Dict[str, Any] = {"normalizer": "batch", "dataset": "digits"}


def job(**fields: Any) -> JobSpec:
    dataset = {"name": "digits"}
    return JobSpec.model_validate({"normalizer": "batch", "dataset": dataset, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 7, "name": "the other", "priority": 3},
        {"optimizer": {"lr": 0.3, "momentum": 0.0, "weight_decay": 0.1, "clip_norm": 1.0}},
        {"label_smoothing": 0.1, "schedule": {"name": "step", "gamma": 0.2}},
        {"normalizer": {"kind": "batch", "eps": 1e-3, "virtual_batch_size": 4}},
    ],
)
def test_seeds_and_numbers_may_differ(fields: Dict[str, Any]) -> None:
    assert obstacle([job(), job(**fields)]) is None


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("normalizer.kind", {"normalizer": {"kind": "layer"}}),
        ("normalizer.affine", {"normalizer": {"kind": "batch", "affine": False}}),
        ("model", {"model": {"name": "preresnet8", "width": 16}}),
        ("batch_size", {"batch_size": 4}),
        ("epochs", {"epochs": 2}),
        ("optimizer.name", {"optimizer": {"name": "adamw"}}),
        ("optimizer.nesterov", {"optimizer": {"name": "sgd", "nesterov": True}}),
        ("augmentation", {"augmentation": {"flip": True}}),
        ("augmentations", {"augmentations": ["mixup"]}),
        ("ema", {"ema": {}}),
        ("loss", {"loss": {}}),
    ],
)
def test_the_field_that_differs_is_named(field: str, fields: Dict[str, Any]) -> None:
    found = obstacle([job(), job(**fields)])
    assert found is not None
    assert found.field == field
    assert "need the same value, but these have" in found.rule


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("replicas", {"replicas": 2}),
        ("acceleration", {"acceleration": "kernels"}),
        ("hooks", {"hooks": ("mine",)}),
        ("model.name", {"model": {"name": "timm/resnet18"}}),
        ("sharding", {"sharding": "off"}),
        ("optimizer.norms_of", {"optimizer": {"norms_of": "twin"}}),
        ("optimizer.name", {"optimizer": "lamb"}),
        ("loading.mode", {"loading": {"mode": "stream"}}),
        ("model", {"model": {"dropout": 0.1}}),
        ("freeze", {"freeze": ["0.*"]}),
    ],
)
def test_what_has_no_form_for_packs_is_named(field: str, fields: Dict[str, Any]) -> None:
    found = obstacle([job(**fields), job(**fields, seed=1)])
    assert found is not None
    assert found.field == field


def test_a_field_that_packs_do_not_know_yet_is_refused_where_it_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("normlab.specs.packs._OWN", {"seed"})
    found = obstacle([job(label_smoothing=0.1)])
    assert found is not None
    assert found.field == "label_smoothing"
    assert obstacle([job()]) is None
