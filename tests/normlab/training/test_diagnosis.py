"""Diagnostics see the whole training and change nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from normlab.diagnostics.observers import OBSERVERS
from normlab.specs.diagnostics import DIAGNOSTICS
from normlab.specs.tasks import TASKS
from tests.normlab.training.recording import small_job, train
from tests.normlab.training.test_resume import assert_same, check_resume, final_state
from tests.normlab.training.test_tasks import EXAMPLES

ALL = list(DIAGNOSTICS)
REPORTS = {
    "batch": {"power/", "step_size/", "scale_invariance/", "landscape/", "batch_statistics/",
              "ablation/", "gradient_bias/", "regularization/"},
    "online": {"power/", "step_size/", "scale_invariance/", "landscape/", "batch_statistics/",
               "gradient_bias/"},
    "switchable": {"switch/"},
    "meta": {"group_size/"},
    "none": {"step_size/", "landscape/", "ablation/"},
    "filter_response": {"power/", "scale_invariance/", "batch_statistics/", "ablation/"},
    "evonorm_s0": {"power/", "scale_invariance/", "batch_statistics/", "ablation/"},
    "dyt": {"power/", "step_size/", "batch_statistics/", "ablation/"},
    "weight_standardized": {"power/", "step_size/", "ablation/"},
    "scaled_weight_standardized": {"step_size/", "landscape/", "ablation/"},
}  # fmt: skip


def test_every_diagnostic_has_its_observer() -> None:
    assert set(OBSERVERS) == set(DIAGNOSTICS)


@pytest.mark.parametrize(
    "kind",
    [
        "batch",
        "batch_renorm",
        "online",
        "streaming",
        "sparse_switchable",
        "bounded_weight",
        "none",
        "rms",
        "dyt",
        "filter_response",
        "evonorm_s0",
        "weight_standardized",
    ],
)
def test_all_diagnostics_together_change_no_bit(kind: str, tmp_path: Path) -> None:
    plain, _ = train(small_job(normalizer=kind), tmp_path / "plain")
    watched, _ = train(small_job(normalizer=kind, diagnostics=ALL), tmp_path / "watched")
    assert_same(final_state(watched), final_state(plain))
    assert watched.points["train/loss"] == plain.points["train/loss"]


@pytest.mark.parametrize("task", list(EXAMPLES))
def test_diagnostics_of_other_tasks_change_no_bit_either(task: str, tmp_path: Path) -> None:
    fields = {**EXAMPLES[task], **({"normalizer": "online"} if task == "language" else {})}
    fitting = [name for name in ALL if name != "ablation" or TASKS[task].classes]
    plain, _ = train(small_job(**fields), tmp_path / "plain")
    watched, _ = train(small_job(diagnostics=fitting, **fields), tmp_path / "watched")
    assert_same(final_state(watched), final_state(plain))
    groups = {name.split("/")[0] for name in watched.points}
    assert groups >= {"power", "step_size", "landscape", "batch_statistics"}


@pytest.mark.parametrize("kind", list(REPORTS))
def test_diagnostics_report_under_their_names(kind: str, tmp_path: Path) -> None:
    recorder, _ = train(small_job(normalizer=kind, diagnostics=ALL), tmp_path)
    found = {name for name in recorder.points if not re.match("train/|val/|time/|device/", name)}
    assert {name.split("/")[0] + "/" for name in found} >= REPORTS[kind]
    records = [record.name for record in recorder.events("Diagnostic")]
    assert records == ["weight_norms", "weight_norms", "ablation"]


def test_a_resumed_job_reports_the_same_diagnostics(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"diagnostics": ["effective_step", "power", "landscape"]}
    check_resume(tmp_path, fields)


def test_a_fixed_choice_of_statistics_is_one_hot(tmp_path: Path) -> None:
    spec = small_job(normalizer="sparse_switchable", diagnostics=["switch_weights"])
    recorder, _ = train(spec, tmp_path)
    for which in ("mean", "var"):
        shares = [recorder.points[f"switch/all/{which}/{c}"][-1][1]
                  for c in ("instance", "layer", "batch")]  # fmt: skip
        assert sum(shares) == pytest.approx(1)
        largest = [value for _, value in recorder.points[f"switch/all/{which}/largest"]]
        assert largest[-1] == pytest.approx(1)  # the radius is larger than that of the simplex


def test_the_landscape_reports_its_range_and_its_change_in_units_of_the_gradient(
    tmp_path: Path,
) -> None:
    recorder, _ = train(small_job(diagnostics=["landscape"]), tmp_path)
    points = {name: p for name, p in recorder.points.items() if name.startswith("landscape/")}
    last = {name.split("/")[1]: p[-1][1] for name, p in points.items()}
    assert last["loss_range"] == pytest.approx(last["loss_high"] - last["loss_low"])
    assert last["relative_change"] > 0


def test_power_after_layer_norm_is_one(tmp_path: Path) -> None:
    recorder, _ = train(small_job(normalizer="layer", diagnostics=["power"]), tmp_path)
    totals = [p for name, p in recorder.points.items() if name.endswith("norm/total")]
    assert totals
    assert all(value == pytest.approx(1, abs=0.02) for points in totals for _, value in points)
