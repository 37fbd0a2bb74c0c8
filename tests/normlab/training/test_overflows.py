"""Non-finite statistics are counted in every epoch, also after interruptions of the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from normlab.data.batches import EpochBatches
from normlab.errors import JobDrained, JobStopped
from tests.normlab.training.recording import small_job, train
from tests.normlab.training.test_resume import assert_same, final_state, stopper

NAME = "train/nonfinite_statistics"
ORIGINAL = EpochBatches.__getitem__


@pytest.fixture
def overflowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the variance of batches 3 and 9 overflow, of twelve per epoch."""

    def spoilt(self: EpochBatches, index: int) -> Any:
        x, y = ORIGINAL(self, index)
        return (x * 1e25 if index in (3, 9) else x), y

    monkeypatch.setattr(EpochBatches, "__getitem__", spoilt)


def test_a_training_without_overflows_counts_none(tmp_path: Path) -> None:
    recorder, _ = train(small_job(), tmp_path)
    assert recorder.points[NAME] == [(12, 0), (24, 0)]


def test_a_network_without_such_layers_has_no_such_metric(tmp_path: Path) -> None:
    recorder, _ = train(small_job(normalizer="layer"), tmp_path)
    assert NAME not in recorder.points


@pytest.mark.usefixtures("overflowing")
def test_an_epoch_counts_the_layers_whose_statistics_overflowed(tmp_path: Path) -> None:
    recorder, summary = train(small_job(), tmp_path)
    (_, first), (_, second) = recorder.points[NAME]
    assert first == second >= 2
    assert isinstance(summary, dict)
    assert summary[NAME] == second
    assert summary["val/loss"] < 10  # evaluation uses finite statistics


@pytest.mark.usefixtures("overflowing")
@pytest.mark.parametrize("step", [2, 6, 11])
def test_a_resumed_training_counts_what_came_before(step: int, tmp_path: Path) -> None:
    whole, _ = train(small_job(), tmp_path / "whole")
    spec = small_job()
    first, stopped = train(spec, tmp_path / "parts", should_stop=stopper(step))
    assert isinstance(stopped, (JobDrained, JobStopped))
    second, _ = train(spec, tmp_path / "parts", resume=first.named_checkpoints())
    assert second.points[NAME] == whole.points[NAME]
    assert_same(final_state(second), final_state(whole))
