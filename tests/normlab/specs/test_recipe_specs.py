"""Optimizers, schedules, losses and augmentations in a job's specification."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from normlab.specs.job_rules import check
from normlab.specs.jobs import JobSpec
from normlab.specs.problems import explain

# of version 0.1.0, before optimizers and schedules had a registry
OLD: list[tuple[dict[str, Any], str]] = [
    ({}, "5eb8372711f29337ad8e04e2f604382c0d607cfade89047edcd168af3addc0b7"),
    (
        {"optimizer": {"lr": 0.3, "momentum": 0.8, "nesterov": True, "clip_norm": 1}},
        "7f50d3afccc4306b4384bd7fb6d2751a97543fd1cad416cae258d540022e730a",
    ),
    ({"optimizer": "adamw"}, "6d76d8228d9ccbe42e69740dc2fa0637515290231a7949c17f0069b36fec5d23"),
    (
        {"optimizer": {"name": "rmsprop", "clip_ratio": 0.01}},
        "69b72aef151bf23eb721291efb263f51dbe41ce477e2d62b2e07c4aec961e747",
    ),
    (
        {"schedule": {"name": "step", "milestones": [0.3, 0.6], "warmup_epochs": 2}},
        "618d7ebd563a272c92934c06edd0687309e4c41304db341f07224a45516b6007",
    ),
    (
        {"schedule": {"final": 0.1}},
        "6e89496ee43dc08bdb07b214aabbf0150a2ba1dd57b646fcbc853b9fe746e881",
    ),
    (
        {"augmentation": {"crop": 4, "flip": True}, "label_smoothing": 0.1},
        "1ff1702534d9162a4439190cb07c328063ef56682466c05e7bc24f3d6c72829d",
    ),
    (
        {"model": {"name": "resnet20", "width": 8, "zero_last_scale": True}},
        "ad09dc4098b0782cb583b4077b3a6031d1c3840a3492aeb77edec0c10abcd027",
    ),
]
NEW: list[dict[str, Any]] = [
    {"loss": {}},
    {"ema": {}},
    {"augmentations": ["flip"]},
    {"augmentations": ["flip", "mixup"]},
    {"augmentations": ["mixup", "flip"]},
    {"optimizer": {"layer_decay": 0.9}},
    {"optimizer": {"clip_value": 1}},
    {"optimizer": "lamb"},
    {"schedule": {"warmup_from": 0.1}},
    {"model": {"dropout": 0.1}},
    {"model": {"stochastic_depth": 0.1}},
]


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"normalizer": "group", **fields})


def problems(**fields: Any) -> dict[str, str]:
    return {p.field: p.rule for p in check(job(**fields), None)}


def refused(**fields: Any) -> tuple[str, str]:
    body = {"normalizer": "group", **fields}
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(body)
    (found,) = explain(caught.value.errors(), body, JobSpec)
    return found.field, found.rule


@pytest.mark.parametrize(("fields", "fingerprint"), OLD)
def test_a_job_of_an_earlier_version_has_the_fingerprint_of_then(
    fields: dict[str, Any], fingerprint: str
) -> None:
    assert job(**fields).fingerprint() == fingerprint


def test_every_new_option_changes_the_fingerprint() -> None:
    found = {job(**fields).fingerprint() for fields in [{}, *NEW]}
    assert len(found) == 1 + len(NEW)


@pytest.mark.parametrize("fields", NEW)
def test_a_dumped_job_is_read_as_the_same(fields: dict[str, Any]) -> None:
    spec = job(**fields)
    assert JobSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert JobSpec.model_validate_json(spec.model_dump_json()).fingerprint() == spec.fingerprint()


def test_a_misspelt_option_is_compared_with_those_of_its_own_part() -> None:
    for fields, field, hint in (
        (
            {"augmentations": ["flip", {"name": "mixup", "alfa": 1}]},
            "augmentations.1.alfa",
            "alpha",
        ),
        ({"optimizer": {"lrr": 1}}, "optimizer.lrr", "lr"),
        ({"schedule": {"name": "one_cycle", "raise": 1}}, "schedule.raise", "rise"),
    ):
        found, rule = refused(**fields)
        assert (found, f"did you mean {hint!r}?" in rule) == (field, True)


def test_an_unknown_name_lists_the_known_ones() -> None:
    for field, value in (("optimizer", "adam"), ("schedule", "linear")):
        assert refused(**{field: value})[0] == field
    found, rule = refused(augmentations=["flop"])
    assert (found, "'flop' is unknown" in rule, "'cutmix'" in rule) == (
        "augmentations.0",
        True,
        True,
    )


def test_gradients_are_clipped_in_one_way() -> None:
    field, rule = refused(optimizer={"clip_value": 1, "clip_norm": 2})
    assert (field, "clip_norm=2 with clip_value=1" in rule) == ("optimizer", True)


def test_a_piecewise_schedule_has_a_factor_for_each_part() -> None:
    assert (
        "2 fractions in at have 3 factors"
        in refused(schedule={"name": "piecewise", "at": [0.2, 0.5], "factors": [1, 2]})[1]
    )


def test_mixing_needs_two_samples_and_a_loss_that_takes_mixed_targets() -> None:
    assert "raise batch_size" in problems(augmentations=["mixup"], batch_size=1)["augmentations.0"]
    dense = {"model": {"name": "unet"}, "dataset": {"name": "scenes32"}}
    rule = problems(augmentations=["color_jitter", "cutmix"], **dense)
    assert list(rule) == ["augmentations.1"]
    assert "it is for classification" in rule["augmentations.1"]


def test_changes_of_samples_are_refused_where_the_targets_would_not_follow() -> None:
    dense = {"model": {"name": "unet"}, "dataset": {"name": "scenes32"}}
    found = problems(augmentations=["random_erasing"], augmentation={"crop": 2}, **dense)
    assert set(found) == {"augmentation.crop", "augmentations.0"}


def test_sides_of_samples_are_checked() -> None:
    found = problems(
        model={"name": "resnet18"},
        augmentations=[{"name": "crop", "pad": 40}, {"name": "random_resized_crop", "size": 16}],
    )
    assert set(found) == {"augmentations.0", "augmentations.1"}


def test_what_a_network_does_not_have_cannot_be_dropped() -> None:
    found = problems(model={"name": "convnet", "dropout": 0.1, "stochastic_depth": 0.1})
    assert list(found) == ["model.stochastic_depth"]
    assert "resnet20" in found["model.stochastic_depth"]


def test_an_ipu_refuses_what_its_program_cannot_do_and_says_why() -> None:
    fields: dict[str, Any] = {
        "optimizer": {"name": "lamb", "clip_value": 1},
        "ema": {},
        "model": {"dropout": 0.1},
    }
    found = problems(device="ipu", **fields)
    assert set(found) == {"optimizer.name", "optimizer.clip_value", "ema", "model.dropout"}
    assert "use sgd, adamw, rmsprop" in found["optimizer.name"]
    assert problems(**fields) == {}  # auto takes a device that can
