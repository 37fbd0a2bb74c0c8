"""TensorBoard itself reads the export."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
reading = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator",
    reason="tensorboard, which reads the files back, is not installed",
)

from normlab.exports.tensorboard import write  # noqa: E402  # only where it can be read back
from tests.normlab.exports.jobs import a_run  # noqa: E402


def read_back(folder: Path) -> Any:
    found = reading.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return found


def test_every_point_keeps_its_step_value_and_time(tmp_path: Path) -> None:
    found = read_back(write(a_run(), tmp_path))
    points = [(e.step, e.value, e.wall_time) for e in found.Scalars("val/accuracy")]
    assert points == [(4, 0.5, 1000.5), (8, 0.75, 1002.25)]


def test_a_non_finite_value_is_exported_as_nan(tmp_path: Path) -> None:
    values = [e.value for e in read_back(write(a_run(), tmp_path)).Scalars("train/loss")]
    assert (values[0], math.isnan(values[1]), values[2]) == (2.0, True, 1.0)


def test_settings_are_hyperparameters(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams import metadata

    content = read_back(write(a_run(), tmp_path)).summary_metadata[metadata.SESSION_START_INFO_TAG]
    info = metadata.parse_session_start_info_plugin_data(content.plugin_data.content)
    assert info.hparams["batch_size"].number_value == 2
    assert info.hparams["normalizer.kind"].string_value == "group"


def test_a_second_export_replaces_the_first(tmp_path: Path) -> None:
    first, second = write(a_run(), tmp_path), write(a_run(), tmp_path)
    assert first == second
    assert len(list(first.glob("events.out.tfevents.*"))) == 1


def test_folders_are_readable_and_never_shared(tmp_path: Path) -> None:
    names = {write(a_run(id=job), tmp_path).name for job in ("job-1", "../job/2")}
    assert names == {"batch_size=2_seed=7-job-1", "batch_size=2_seed=7-.._job_2"}
