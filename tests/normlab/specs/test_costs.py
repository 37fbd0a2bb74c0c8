"""The cost of a job: it agrees with recorded runs, and rises with everything that needs time."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Dict, List

import pytest

from normlab.specs.costs import job_s, parallel_share, update_s
from normlab.specs.jobs import JobSpec
from normlab.specs.sizes import steps

# Trainings with one thread on a 2-core x86 host with other load: the faster epoch of two.
RECORDED: List[Dict[str, Any]] = json.loads(
    Path(__file__).with_name("recorded_updates.json").read_text(encoding="utf-8")
)
WITHIN = 3.0
MOSTLY_WITHIN = 1.5


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"normalizer": "batch", "dataset": {"name": "digits"}, **fields})


def recorded(run: Dict[str, Any]) -> JobSpec:
    fields = {name: value for name, value in run.items() if name != "update_ms"}
    return JobSpec.model_validate({**fields, "dataset": {"name": run["dataset"]}})


def error(run: Dict[str, Any]) -> float:
    predicted = update_s(recorded(run))
    assert predicted is not None
    return math.exp(abs(math.log(1000 * predicted / run["update_ms"])))


def test_each_recorded_update_is_predicted_within_a_factor_of_three() -> None:
    errors = sorted(error(run) for run in RECORDED)
    assert errors[-1] < WITHIN
    assert errors[int(0.8 * len(errors))] < MOSTLY_WITHIN


@pytest.mark.parametrize("model", ["preresnet8", "convnet", "resnet20", "resnet56"])
def test_an_epoch_at_batch_2_against_one_at_32_is_predicted_within_a_factor_of_two(
    model: str,
) -> None:
    runs = {
        run["batch_size"]: run
        for run in RECORDED
        if (run["model"], run["dataset"]) == ({"name": model, "width": None}, "shapes32")
        and run["normalizer"] == "batch"
    }
    measured = 16 * runs[2]["update_ms"] / runs[32]["update_ms"]
    small, large = (update_s(recorded(runs[size])) for size in (2, 32))
    assert small is not None
    assert large is not None
    assert 0.5 < (16 * small / large) / measured < 2


def seconds(**fields: Any) -> float:
    spec = job(**fields)
    made = steps(spec)
    assert made is not None
    found = job_s(spec, made)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"batch_size": 32}, {"batch_size": 2}),
        ({"batch_size": 2}, {"batch_size": 1}),
        ({"epochs": 2}, {"epochs": 4}),
        ({"evaluate_every": 5}, {"evaluate_every": 1}),
        ({"max_steps": 10}, {"max_steps": 20}),
        ({"model": {"width": 8}}, {"model": {"width": 16}}),
        ({"model": {"name": "resnet20"}}, {"model": {"name": "resnet56"}}),
        ({"normalizer": "batch"}, {"normalizer": "online"}),
        ({"normalizer": "group"}, {"normalizer": {"kind": "group", "proxy": True}}),
        ({"dataset": {"name": "digits"}}, {"dataset": {"name": "shapes32"}}),
    ],
)
def test_a_higher_cost_takes_longer(less: Dict[str, Any], more: Dict[str, Any]) -> None:
    assert seconds(**less) < seconds(**more)


@pytest.mark.parametrize("field", ["batch_size", "gradient_accumulation", "replicas"])
def test_a_larger_update_takes_longer(field: str) -> None:
    times = [update_s(job(**{field: size})) for size in (1, 2, 4, 64)]
    known = [t for t in times if t is not None]
    assert known == sorted(set(known))
    assert len(known) == 4


def test_an_unknown_network_has_no_cost() -> None:
    assert update_s(job(model={"name": "unheard"})) is None
    assert job_s(job(dataset={"name": "unheard"}), 10) is None


def test_threads_divide_more_of_a_heavy_update_the_more_samples_it_has() -> None:
    large = {"normalizer": "batch", "model": {"name": "resnet20"}}
    shares = [
        parallel_share(JobSpec.model_validate({**large, "batch_size": n})) for n in (16, 64, 512)
    ]
    known = [share for share in shares if share is not None]
    assert len(known) == 3
    assert 0.5 < known[0] < known[1] < known[2] < 1


@pytest.mark.parametrize("batch_size", [2, 32])
def test_threads_divide_nothing_of_a_light_update(batch_size: int) -> None:
    small = {"normalizer": "batch", "dataset": {"name": "digits"}, "batch_size": batch_size}
    assert parallel_share(JobSpec.model_validate(small)) is None
