from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from accelerators import open_accelerator, poptorch_emulation
from accelerators.ipu_errors import as_job_error
from normlab.errors import (
    DeviceError,
    DeviceUnavailable,
    JobDrained,
    OutOfDeviceMemory,
    UnsupportedModel,
)
from normlab.nets import build
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import BY_KIND
from tests.normlab.training.recording import small_job, train
from tests.normlab.training.test_tasks import EXAMPLES

on_ipu = [kind for kind, spec in BY_KIND.items() if spec.runs_on_ipu]


def emulated_job(**fields: Any) -> JobSpec:
    """Return a small job for the emulated IPU."""
    return small_job(**{"device": "ipu", "ipu_runtime": "emulated", **fields})


@pytest.mark.parametrize("kind", on_ipu)
def test_the_emulation_learns_what_the_cpu_learns(kind: str, tmp_path: Path) -> None:
    fields = {"normalizer": kind, "epochs": 1, "optimizer": {"name": "sgd", "lr": 0.02}}
    emulated, _ = train(emulated_job(**fields), tmp_path / "ipu")
    plain, _ = train(small_job(device="cpu", **fields), tmp_path / "cpu")
    losses = [torch.tensor(r.points["train/loss"]) for r in (emulated, plain)]
    torch.testing.assert_close(*losses, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("fields", EXAMPLES.values(), ids=list(EXAMPLES))
def test_other_tasks_train_as_on_the_cpu_too(fields: dict[str, Any], tmp_path: Path) -> None:
    fields = {**fields, "epochs": 1, "optimizer": {"name": "sgd", "lr": 0.02}}
    _, emulated = train(emulated_job(**fields), tmp_path / "ipu")
    _, plain = train(small_job(device="cpu", **fields), tmp_path / "cpu")
    for name in [name for name in plain if name.startswith(("val/", "train/"))]:
        if name != "train/images_per_s":
            assert emulated[name] == pytest.approx(plain[name], rel=2e-3, abs=2e-3), name


@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "sgd", "lr": 0.02, "nesterov": True, "weight_decay": 1e-3, "clip_norm": 1.0},
        {"name": "adamw", "lr": 1e-3, "weight_decay": 1e-2},
        {"name": "rmsprop", "lr": 1e-3, "momentum": 0.9},
    ],
)
def test_every_optimizer_trains_as_on_the_cpu(optimizer: dict[str, Any], tmp_path: Path) -> None:
    fields = {"normalizer": "layer", "epochs": 1, "optimizer": optimizer}
    _, emulated = train(emulated_job(**fields), tmp_path / "ipu")
    _, plain = train(small_job(device="cpu", **fields), tmp_path / "cpu")
    assert emulated["val/loss"] == pytest.approx(plain["val/loss"], rel=1e-3)
    assert emulated["val/accuracy"] == pytest.approx(plain["val/accuracy"], abs=0.02)


RECIPE: dict[str, Any] = {
    "normalizer": "layer",
    "epochs": 1,
    "augmentations": ["random_resized_crop", "rand_augment", "cutmix"],
    "optimizer": {"name": "adamw", "lr": 1e-3, "layer_decay": 0.5},
    "schedule": {"name": "polynomial", "warmup_epochs": 0.5},
}


@pytest.mark.parametrize("loss", [None, {"threshold": 0.2}])
def test_mixed_targets_and_layer_wise_rates_train_as_on_the_cpu(loss: Any, tmp_path: Path) -> None:
    emulated, _ = train(emulated_job(loss=loss, **RECIPE), tmp_path / "ipu")
    plain, _ = train(small_job(device="cpu", loss=loss, **RECIPE), tmp_path / "cpu")
    losses = [torch.tensor(r.points["train/loss"]) for r in (emulated, plain)]
    torch.testing.assert_close(*losses, rtol=2e-3, atol=2e-3)
    assert emulated.points["train/accuracy"] == plain.points["train/accuracy"]


def test_replicas_train_like_accumulated_micro_batches(tmp_path: Path) -> None:
    fields = {"normalizer": {"kind": "group", "groups": 2}, "batch_size": 4, "epochs": 1}
    replicas, summary = train(emulated_job(replicas=2, **fields), tmp_path / "a")
    accumulated, _ = train(emulated_job(gradient_accumulation=2, **fields), tmp_path / "b")
    losses = [torch.tensor(r.points["train/loss"]) for r in (replicas, accumulated)]
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-4)
    assert (summary["replicas"], summary["micro_batch"]) == (2, 4)


def test_a_result_says_that_it_was_emulated(tmp_path: Path) -> None:
    _, summary = train(emulated_job(epochs=1), tmp_path)
    assert summary["runtime"] == "host-emulation"
    assert summary["timing_valid"] is False
    assert "throughput and latency" in summary["not_modelled"]
    assert (summary["gradient_accumulation"], summary["reduction"]) == (1, "mean")
    assert summary["device_iterations"] == summary["replicas"] == 1
    assert set(summary["versions"]) == {"poptorch (emulated)", "torch", "python"}


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_a_resumed_run_ends_with_the_same_numbers(kind: str, tmp_path: Path) -> None:
    spec = emulated_job(normalizer=kind)
    whole, _ = train(spec, tmp_path / "whole")
    asked = iter([None] * 7)
    drained = JobDrained("its worker leaves")
    first, ended = train(spec, tmp_path / "parts", should_stop=lambda: next(asked, drained))
    assert ended is drained
    second, _ = train(spec, tmp_path / "parts", first.named_checkpoints())
    joined = first.points["train/loss"] + second.points["train/loss"]
    assert joined == whole.points["train/loss"]
    assert second.points["val/loss"][-1] == whole.points["val/loss"][-1]


def test_batch_norm_has_its_running_statistics_after_the_session() -> None:
    spec = emulated_job()
    model = build(spec.model, spec.normalizer, 1, 10, 8)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with open_accelerator("ipu", spec).session(model, spec) as session:
        session.prepare(0.1, 0.0)
        session.train(torch.randn(8, 1, 8, 8), torch.zeros(8, dtype=torch.int64))
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert any("running_mean" in k for k in changed)


def test_a_short_last_batch_counts_by_its_size() -> None:
    spec = emulated_job(normalizer="layer")
    model = build(spec.model, spec.normalizer, 1, 10, 8)
    x, y = torch.randn(12, 1, 8, 8), torch.arange(12) % 10
    with open_accelerator("ipu", spec).session(model, spec) as session:
        whole = session.evaluate(x, y)
        part = session.evaluate(x[8:], y[8:])
    with torch.no_grad():
        logits = model.eval()(x)
    torch.testing.assert_close(whole.loss, torch.nn.functional.cross_entropy(logits, y))
    expected = torch.nn.functional.cross_entropy(logits[8:], y[8:])
    torch.testing.assert_close(part.loss, expected)
    assert part.predictions == 4


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"normalizer": "online"}, "backward control process"),
        ({"normalizer": {"kind": "batch", "momentum": None}}, "integer buffer"),
        ({"normalizer": {"kind": "batch", "sync": True}}, "synchronised"),
        ({"precision": "bfloat16"}, "use float32"),
        ({"replicas": 3}, "power of two"),
        ({"replicas": 2, "ipu_runtime": "ipu_model"}, "IPU Model"),
        ({"optimizer": {"name": "rmsprop", "clip_norm": 1.0}}, "does not clip"),
        ({"optimizer": {"name": "sgd", "clip_ratio": 0.01}}, "use clip_norm"),
        ({"optimizer": {"name": "sgd", "clip_value": 0.01}}, "use clip_norm"),
        ({"optimizer": "lamb"}, "use sgd, adamw, rmsprop"),
        ({"ema": {}}, "no average of them is kept"),
        ({"model": {"dropout": 0.1}}, "random state is in no checkpoint"),
    ],
)
def test_jobs_that_an_ipu_cannot_run_are_refused_with_the_reason(
    fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(UnsupportedModel, match=words):
        open_accelerator("ipu", emulated_job(**fields))


@pytest.mark.parametrize("runtime", ["hardware", "ipu_model"])
def test_a_missing_sdk_never_becomes_an_emulation(runtime: str) -> None:
    if find_spec("poptorch") is not None:
        pytest.skip("PopTorch is installed here")
    with pytest.raises(DeviceUnavailable, match="'emulated'"):
        open_accelerator("ipu", emulated_job(ipu_runtime=runtime))


def test_a_host_with_the_sdk_and_without_ipus_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = ModuleType("poptorch")
    sdk.ipuHardwareIsAvailable = lambda n: n < 1
    monkeypatch.setitem(sys.modules, "poptorch", sdk)
    with pytest.raises(DeviceUnavailable, match="no IPU on this host"):
        open_accelerator("ipu", emulated_job(ipu_runtime="hardware"))


def test_too_few_ipus_for_the_replicas_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = ModuleType("poptorch")
    sdk.ipuHardwareIsAvailable = lambda n: n <= 2
    monkeypatch.setitem(sys.modules, "poptorch", sdk)
    with pytest.raises(DeviceUnavailable, match="fewer than 4 IPUs"):
        open_accelerator("ipu", emulated_job(ipu_runtime="hardware", replicas=4))


def test_an_evaluation_draws_no_new_random_numbers() -> None:
    spec = emulated_job(normalizer="layer")
    model = build(spec.model, spec.normalizer, 1, 10, 8)
    with open_accelerator("ipu", spec).session(model, spec) as session:
        torch.manual_seed(99)
        expected = torch.get_rng_state()
        session.evaluate(torch.randn(4, 1, 8, 8, generator=torch.Generator()), torch.arange(4))
        assert torch.equal(torch.get_rng_state(), expected)


def test_a_checkpoint_after_an_evaluation_has_the_newest_weights() -> None:
    spec = emulated_job(optimizer={"name": "sgd", "momentum": 0.9})
    model = build(spec.model, spec.normalizer, 1, 10, 8)
    x, y = torch.randn(8, 1, 8, 8), torch.arange(8)
    with open_accelerator("ipu", spec).session(model, spec) as session:
        session.prepare(0.1, 0.0)
        session.train(x, y)
        before = session.state_dict()
        session.evaluate(x, y)
        after = session.state_dict()
        assert session.inspect() is model
    torch.testing.assert_close(after["model"], before["model"])
    assert after["optimizer"]["ipu_state"]
    torch.testing.assert_close(after["optimizer"]["ipu_state"], before["optimizer"]["ipu_state"])


def test_the_programs_are_destroyed_whatever_happens() -> None:
    spec = emulated_job()
    model = build(spec.model, spec.normalizer, 1, 10, 8)
    manager = open_accelerator("ipu", spec).session(model, spec)
    session = manager.__enter__()
    session.prepare(0.1, 0.0)
    session.train(torch.randn(8, 1, 8, 8), torch.zeros(8, dtype=torch.int64))
    trainer = session._trainer
    error = ZeroDivisionError("an error of the loop's own")
    assert not manager.__exit__(ZeroDivisionError, error, None)  # the error is not swallowed
    assert not trainer.isCompiled()


def test_errors_during_the_setup_of_the_library_are_translated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def busy(*args: Any) -> Any:
        raise poptorch_emulation.Error("Failed to acquire 1 IPU(s)")

    monkeypatch.setattr(poptorch_emulation, "trainingModel", busy)
    spec = emulated_job()
    model = build(spec.model, spec.normalizer, 1, 10, 8)
    session = open_accelerator("ipu", spec).session(model, spec)
    with pytest.raises(DeviceUnavailable, match="taken"):
        session.__enter__()


def _recoverable(action: str) -> Exception:
    error = poptorch_emulation.RecoverableError("link down")
    error.recovery_action = action
    return error


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (_recoverable("IPU_RESET"), DeviceError, True),
        (_recoverable("PARTITION_RESET"), DeviceError, True),
        (poptorch_emulation.UnrecoverableError("dead"), DeviceError, True),
        (poptorch_emulation.Error("Failed to acquire 4 IPU(s)"), DeviceUnavailable, True),
        (poptorch_emulation.Error("tile 7: out of memory"), OutOfDeviceMemory, False),
        (poptorch_emulation.Error("Unsupported ops found"), UnsupportedModel, False),
    ],
)
def test_each_failure_says_whether_to_try_again(
    error: Exception, kind: type, retryable: bool
) -> None:
    job_error = as_job_error(poptorch_emulation, error)
    assert (type(job_error), job_error.retryable) == (kind, retryable)
    assert str(error) in str(job_error)
