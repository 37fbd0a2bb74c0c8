"""Each rule is evaluated once for equal fields, with the same result as for each cell alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

import pytest

from normlab.plugins.loading import load
from normlab.specs import job_rules, registries
from normlab.specs.cells import expand
from normlab.specs.jobs import JobSpec
from normlab.specs.shared_answers import ManySharedAnswers, SharedAnswers
from normlab.specs.sizes import steps
from normlab.specs.studies import StudySpec
from tests.normlab.plugins.own_networks import my_nets

# Most of these cells break rules about one field, several fields, files or devices.
WRONG: Dict[str, List[Any]] = {
    "normalizer": ["batch", {"kind": "group", "groups": 3}, "online", {"kind": "topk_batch"}],
    "dataset": [{"name": n} for n in ("digits", "cifar10", "image_folder", "grammar", "nowhere")],
    "model": [
        {"name": "preresnet8", "width": 4},
        *({"name": n} for n in ("convnet", "lstm", "unet")),
    ],
    "batch_size": [1, 32, 5000],
    "device": ["auto", "ipu", "cuda"],
    "optimizer.batch_scaling": ["linear", "time_constant"],
}


def test_every_cell_is_refused_for_the_reasons_it_would_be_alone(tmp_path: Path) -> None:
    base = {"optimizer": {"name": "sgd", "momentum": 0.0}, "schedule": {"warmup_epochs": 1}}
    study = StudySpec(name="wrong", base=base, axes=WRONG, seeds=[0, 1])
    shared = job_rules.checker(tmp_path)
    cells = expand(study)
    found = [shared(cell.spec) for cell in cells]
    assert found == [job_rules.check(cell.spec, tmp_path) for cell in cells]
    assert len({str(problems) for problems in found}) > 100


def test_a_question_is_asked_once_for_the_values_that_it_reads() -> None:
    asked: List[int] = []

    def size(spec: JobSpec) -> int:
        asked.append(spec.batch_size)
        return spec.samples_per_update if spec.batch_size > 1 else 0

    axes = {"batch_size": [1, 2], "gradient_accumulation": [1, 3], "optimizer.lr": [0.1, 0.2]}
    cells = expand(StudySpec(name="s", base={"normalizer": "batch"}, axes=axes, seeds=5))
    shared = SharedAnswers(size)
    assert [shared(cell.spec) for cell in cells] == [size(cell.spec) for cell in cells]
    assert len(asked) <= len(cells) + 8  # a few, because later cells read more than the first ones


def test_the_rules_of_a_large_grid_are_asked_a_few_times() -> None:
    times = 0

    def rate(spec: JobSpec) -> float:
        nonlocal times
        times += 1
        return spec.optimizer.lr

    axes = {"batch_size": list(range(1, 51)), "optimizer.lr": [n / 100 for n in range(1, 21)]}
    cells = expand(StudySpec(name="s", base={"normalizer": "batch"}, axes=axes))
    shared = ManySharedAnswers([rate, lambda spec: float(spec.batch_size)])
    found = [shared(cell.spec) for cell in cells]
    assert found == [[cell.spec.optimizer.lr, cell.spec.batch_size] for cell in cells]
    assert times <= 20 + 50


@pytest.mark.usefixtures("no_plugins")
def test_a_network_that_only_the_jobs_own_code_has_is_known_to_the_rules(tmp_path: Path) -> None:
    plugin = load(my_nets().written_below(tmp_path), "my_nets.py").plugin()
    registries.find_with({plugin.digest: plugin}.get)
    job = {"model": {"name": "tower_of_mine"}, "dataset": {"name": "stripes_of_mine"}}
    spec = JobSpec(normalizer="batch", code=[plugin.digest], epochs=2, batch_size=4, **job)
    assert job_rules.check(spec, tmp_path) == []
    assert job_rules.checker(tmp_path)(spec) == []
    assert steps(spec) is None
    wrong = spec.model_copy(
        update={"label_smoothing": 0.1, "model": JobSpec(normalizer="batch").model}
    )
    assert job_rules.check(wrong, None) == job_rules.checker(None)(wrong)
