"""A job's specification: short forms, limits, and the fingerprint of its computation."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from normlab.specs.jobs import JobSpec


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"normalizer": "batch", **fields})


def test_a_bare_name_stands_for_its_object() -> None:
    short = job(normalizer="group", optimizer="adamw", schedule="constant")
    long = job(
        normalizer={"kind": "group"}, optimizer={"name": "adamw"}, schedule={"name": "constant"}
    )
    assert short == long


@pytest.mark.parametrize("field", ["model", "dataset", "loss", "optimizer", "schedule"])
def test_whatever_has_a_name_is_the_same_job_by_its_name_alone(field: str) -> None:
    name = {"model": "resnet20", "dataset": "digits", "loss": "binary_cross_entropy"}
    name.update(optimizer="lion", schedule="step")
    short, long = job(**{field: name[field]}), job(**{field: {"name": name[field]}})
    assert (short, short.fingerprint()) == (long, long.fingerprint())
    assert JobSpec.model_validate_json(short.model_dump_json()) == long


def test_an_optimizer_without_a_name_is_sgd() -> None:
    assert job(optimizer={"lr": 0.05}).optimizer.name == "sgd"


def test_samples_per_update_counts_accumulation_and_replicas() -> None:
    assert job(batch_size=2, gradient_accumulation=8, replicas=2).samples_per_update == 32


def test_a_spec_survives_json() -> None:
    spec = job(normalizer={"kind": "group", "groups": 4, "proxy": True}, diagnostics=["power"])
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_job_on_one_host_is_the_job_that_it_was_before_there_were_several() -> None:
    pair = job(replicas=2)
    assert "hosts" not in pair.texts()
    assert job(replicas=2, hosts=1).fingerprint() == pair.fingerprint()
    assert job(replicas=2, hosts=2).fingerprint() != pair.fingerprint()
    assert (job(replicas=6, hosts=2).replicas_per_host, pair.replicas_per_host) == (3, 2)


def test_sharding_by_memory_is_the_job_that_it_was_before_there_was_a_choice() -> None:
    pair = job(replicas=2)
    assert "sharding" not in pair.texts()
    assert job(replicas=2, sharding="auto") == pair
    assert job(replicas=2, sharding="full").fingerprint() != pair.fingerprint()


@pytest.mark.parametrize("errand", [{"name": "x"}, {"priority": 3}, {"max_attempts": 1}])
def test_options_for_running_a_job_do_not_change_its_fingerprint(errand: dict[str, Any]) -> None:
    assert job(**errand).fingerprint() == job().fingerprint()


@pytest.mark.parametrize("science", [{"seed": 1}, {"epochs": 6}, {"normalizer": "layer"}])
def test_options_that_change_the_results_change_the_fingerprint(science: dict[str, Any]) -> None:
    assert job(**science).fingerprint() != job().fingerprint()


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"batchsize": 2}, "batchsize"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": "two"}, "batch_size"),
        ({"optimizer": {"lr": math.nan}}, "lr"),
        ({"optimizer": {"nesterov": True, "momentum": 0}}, "optimizer"),
        ({"schedule": {"name": "step", "milestones": [0.5, 0.2]}}, "schedule"),
        ({"dataset": {"name": "image_folder", "folder": "../etc"}}, "folder"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_field_outside_its_limits_is_named(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError, match=where):
        job(**fields)
