from __future__ import annotations

import math
from pathlib import Path

import pytest

from accelerators.cpu import CpuAccelerator
from normlab.errors import InvalidSpec, JobCancelled, LossNotFinite
from normlab.training import loop, step_results
from normlab.training.checkpoints import CheckpointFolder
from normlab.training.loop import fit
from tests.normlab.training.recording import Recorder, small_job, train


def test_a_short_training_learns_the_digits(tmp_path: Path) -> None:
    spec = small_job(
        dataset={"name": "digits"}, model={"name": "preresnet8"}, epochs=2, batch_size=32
    )
    recorder, summary = train(spec, tmp_path)
    assert isinstance(summary, dict)
    assert summary["val/accuracy"] > 0.85
    losses = [value for _, value in recorder.points["train/loss"]]
    assert losses[0] == pytest.approx(math.log(10), abs=0.2)  # nearly uniform at the start
    assert losses[-1] < 1


def test_every_metric_is_reported_with_the_update_that_it_belongs_to(tmp_path: Path) -> None:
    recorder, summary = train(small_job(), tmp_path)
    points = {name: [step for step, _ in series] for name, series in recorder.points.items()}
    each_update, each_epoch = list(range(1, 25)), [12, 24]
    assert points == {
        "train/loss": each_update,
        "train/learning_rate": each_update,
        "train/accuracy": each_epoch,
        "train/nonfinite_statistics": each_epoch,
        "train/images_per_s": each_epoch,
        "time/epoch_s": each_epoch,
        "device/memory_peak_bytes": each_epoch,
        "val/loss": each_epoch,
        "val/accuracy": each_epoch,
    }
    assert isinstance(summary, dict)
    assert {name: series[-1][1] for name, series in recorder.points.items()}.items() <= {
        **summary,
        "train/learning_rate": recorder.points["train/learning_rate"][-1][1],
    }.items()


def test_an_epoch_is_told_after_its_measures_also_where_its_last_update_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_results, "_INTERVAL_S", 0)
    recorder, _ = train(small_job(max_steps=20), tmp_path)
    ends = {told.step: i for i, (kind, told) in enumerate(recorder.log) if kind == "Progress"}
    assert list(ends) == list(range(1, 21))
    for step in (12, 20):
        assert recorder.log.index(("metric", ("val/accuracy", step))) < ends[step]
        told = [one.step for one in recorder.events("Progress")]
        assert told.count(step) == 1


def test_metrics_are_sent_before_the_checkpoint_that_comes_after_them(tmp_path: Path) -> None:
    recorder, _ = train(small_job(checkpoint={"every_steps": 5, "every_s": 3600}), tmp_path)
    kinds = [kind for kind, _ in recorder.log]
    written = [i for i, kind in enumerate(kinds) if kind == "CheckpointWritten"]
    assert [recorder.log[i][1].step for i in written] == [5, 10, 15, 20, 24]
    for i in written:
        step = recorder.log[i][1].step
        assert kinds[i - 1] == "flush"
        assert ("metric", ("train/loss", step)) in recorder.log[:i]
        assert ("metric", ("train/loss", step + 1)) not in recorder.log[:i]


@pytest.mark.parametrize(("share", "steps"), [(0.1, [36]), (0.0, [12, 24, 36])])
def test_an_epoch_ends_with_a_checkpoint_when_that_share_of_the_interval_is_over(
    share: float, steps: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_AT_EPOCHS", share)
    recorder, _ = train(small_job(epochs=3, checkpoint={"every_s": 3600}), tmp_path)
    assert [c.step for c in recorder.named_checkpoints()] == steps


def test_evaluation_can_be_rarer_than_epochs_but_the_end_is_always_evaluated(
    tmp_path: Path,
) -> None:
    recorder, _ = train(small_job(epochs=5, evaluate_every=2), tmp_path)
    assert [step for step, _ in recorder.points["val/accuracy"]] == [24, 48, 60]


def test_no_epochs_do_nothing_at_once(tmp_path: Path) -> None:
    spec = small_job(epochs=0, dataset={"name": "cifar10"})  # its files are not even looked up
    recorder, summary = train(spec, tmp_path / "folder")
    assert isinstance(summary, dict)
    assert summary["steps"] == 0
    assert recorder.points == {}
    assert not (tmp_path / "folder").exists()


def test_the_error_for_a_diverging_loss_names_the_step(tmp_path: Path) -> None:
    spec = small_job(normalizer="none", optimizer={"name": "sgd", "lr": 1000}, epochs=4)
    recorder = Recorder()
    with pytest.raises(LossNotFinite, match="lower the learning rate") as caught:
        fit(
            spec,
            CpuAccelerator(1),
            recorder,
            CheckpointFolder(tmp_path, spec.fingerprint()),
            tmp_path,
            lambda: None,
        )
    step, value = recorder.points["train/loss"][-1]
    assert not math.isfinite(value)
    assert f"at step {step};" in str(caught.value)
    assert all(math.isfinite(value) for _, value in recorder.points["train/loss"][:-1])


def test_a_stop_before_the_first_update_leaves_the_first_state(tmp_path: Path) -> None:
    recorder, stopped = train(
        small_job(), tmp_path, should_stop=lambda: JobCancelled("not wanted any more")
    )
    assert isinstance(stopped, JobCancelled)
    assert [c.step for c in recorder.named_checkpoints()] == [0]
    assert recorder.points == {}


def test_a_spec_that_cannot_be_run_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="97 is larger than the 96"):
        train(small_job(batch_size=97), tmp_path)


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(tmp_path: Path) -> None:
    first, _ = train(small_job(seed=3), tmp_path)
    second, _ = train(small_job(seed=3), tmp_path)
    other, _ = train(small_job(seed=4), tmp_path)
    assert first.points["train/loss"] == second.points["train/loss"]
    assert first.points["train/loss"] != other.points["train/loss"]


def test_accumulation_of_a_batch_independent_kind_equals_the_large_batch(tmp_path: Path) -> None:
    whole, _ = train(small_job(normalizer="layer", batch_size=8), tmp_path)
    parts, _ = train(small_job(normalizer="layer", batch_size=2, gradient_accumulation=4), tmp_path)
    ours = [value for _, value in parts.points["train/loss"]]
    theirs = [value for _, value in whole.points["train/loss"]]
    assert ours == pytest.approx(theirs, rel=1e-3)
