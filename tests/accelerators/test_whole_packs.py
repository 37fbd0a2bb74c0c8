"""Whole trainings in float64: a member of a pack reports and learns the same as its job alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
import torch
from torch import Tensor

from accelerators.pack_members import MemberSession
from accelerators.torch_session import TorchSession
from normlab.errors import JobCancelled
from normlab.specs.diagnostics import DIAGNOSTICS
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import BY_KIND
from tests.accelerators.test_packs import Run, after, no_stop, run_pack
from tests.normlab.training.recording import Recorder, small_job, train

_OF_THE_HOST = {"time/epoch_s", "train/images_per_s", "device/memory_peak_bytes"}
_SMALL: Dict[str, Any] = {
    "model": {"name": "convnet", "width": 4},
    "dataset": {"name": "digits", "train_size": 48, "test_size": 32},
    "device": "cpu",
    "epochs": 1,
}
CASES: Dict[str, Dict[str, Any]] = {
    "drawn changes": {
        "augmentation": {"crop": 1, "flip": True},
        "augmentations": ["random_erasing"],
    },
    "mixed samples": {"augmentations": ["mixup"], "label_smoothing": 0.1},
    "mixed samples, binary": {"augmentations": ["cutmix"], "loss": {"threshold": 0.2}},
    "averaged weights": {"ema": {"decay": 0.8, "every": 2, "start": 0.3}},
    "averaged statistics": {"ema": {"decay": 0.8}, "normalizer": "streaming"},
    "entries clipped": {"optimizer": {"clip_value": 0.01}},
    "units clipped": {"optimizer": {"clip_ratio": 0.01, "layer_decay": 0.7}},
    "the whole clipped": {"optimizer": {"clip_norm": 0.1, "decay_normalizers": True}},
    "proxy, virtual batches": {
        "normalizer": {"kind": "batch", "virtual_batch_size": 2, "proxy": True},
        "optimizer": {"weight_decay": 0.01},
    },
    "warmup, micro-batches": {
        "schedule": {"name": "cosine", "warmup_epochs": 0.5},
        "gradient_accumulation": 2,
    },
    "batches of two": {"batch_size": 2},  # which carry rounding far, and in 24 updates not yet
    "perplexity": {"metrics": ["val/perplexity"]},
}


@pytest.fixture(autouse=True)
def in_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Build networks, and place samples, in float64."""

    def place(self: object, x: Tensor) -> Tensor:
        return x.double() if x.is_floating_point() else x

    monkeypatch.setattr(TorchSession, "place", place)
    monkeypatch.setattr(MemberSession, "place", place)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def jobs(**fields: Any) -> List[JobSpec]:
    """Return three jobs of six updates with seeds, rates, decays and smoothing of their own."""
    given = {**_SMALL, **fields}
    own = given.pop("optimizer", {})
    return [
        small_job(
            **{
                **given,
                "seed": seed,
                "optimizer": {"lr": 0.02 * (seed + 1), "weight_decay": 0.01 * seed, **own},
            }
        )
        for seed in range(3)
    ]


def assert_same(run: Run, alone: Recorder) -> None:
    """Compare the weights and every number that is not of the host."""
    assert isinstance(run.outcome, dict), run.outcome
    assert set(run.recorder.points) == set(alone.points)
    for name in set(alone.points) - _OF_THE_HOST:
        steps, values = zip(*run.recorder.points[name])
        steps_alone, values_alone = zip(*alone.points[name])
        assert steps == steps_alone, name
        assert values == pytest.approx(values_alone, rel=1e-7, abs=1e-9, nan_ok=True), name
    weights = Run(alone, None).weights()
    for name, value in run.weights().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", list(CASES))
def test_a_member_equals_its_job_alone(name: str, tmp_path: Path) -> None:
    specs = jobs(**CASES[name])
    for i, run in enumerate(run_pack(specs, tmp_path)):
        assert_same(run, train(specs[i], tmp_path / f"alone {i}")[0])


def test_every_diagnostic_finds_what_it_finds_alone(tmp_path: Path) -> None:
    specs = jobs(diagnostics=list(DIAGNOSTICS.own))
    for i, run in enumerate(run_pack(specs, tmp_path)):
        assert_same(run, train(specs[i], tmp_path / f"alone {i}")[0])


@pytest.mark.parametrize("kind", list(BY_KIND.own))
def test_members_go_on_as_alone_when_one_leaves(kind: str, tmp_path: Path) -> None:
    specs = jobs(normalizer=kind)
    stops = [no_stop, after(3, JobCancelled("the job was cancelled")), no_stop]
    runs = run_pack(specs, tmp_path, stops)
    assert isinstance(runs[1].outcome, JobCancelled)
    assert_same(runs[2], train(specs[2], tmp_path / "alone")[0])
