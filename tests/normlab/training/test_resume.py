from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from normlab.errors import CheckpointUnusable, JobDrained, JobStopped
from normlab.specs.normalizers import BY_KIND
from tests.normlab.training.recording import Recorder, small_job, train
from tests.normlab.training.test_tasks import DETECTION, LANGUAGE, SEGMENTATION, STYLE

TIMED = ("time/epoch_s", "train/images_per_s", "device/memory_peak_bytes")
VARIANTS: dict[str, dict[str, Any]] = {
    "group and proxy": {"normalizer": {"kind": "group", "groups": 2, "proxy": True}},
    "ghost batches": {"normalizer": {"kind": "batch", "virtual_batch_size": 2}},
    "accumulation": {"gradient_accumulation": 3, "batch_size": 4},
    "augmentation": {"augmentation": {"crop": 2, "flip": True}},
    "warm-up and steps": {"schedule": {"name": "step", "warmup_epochs": 0.5}},
    "nesterov": {"optimizer": {"name": "sgd", "nesterov": True, "weight_decay": 1e-3}},
    "adamw": {"optimizer": {"name": "adamw", "weight_decay": 1e-2}},
    "rmsprop": {"optimizer": {"name": "rmsprop", "momentum": 0.5, "lr": 1e-3}},
    "bfloat16": {"precision": "bfloat16"},
    "smoothing and clipping": {
        "label_smoothing": 0.1,
        "optimizer": {"name": "sgd", "clip_norm": 1},
    },
    "a recipe of everything": {
        "augmentations": ["random_resized_crop", "rand_augment", "random_erasing", "cutmix"],
        "optimizer": {"name": "lamb", "weight_decay": 0.02, "layer_decay": 0.9, "clip_value": 1},
        "schedule": {"name": "one_cycle"},
        "loss": {"threshold": 0.2},
        "ema": {"decay": 0.8, "every": 3, "start": 0.1},
        "model": {"name": "preresnet8", "width": 4, "dropout": 0.1, "stochastic_depth": 0.2},
    },
    "lion": {"optimizer": {"name": "lion", "weight_decay": 0.1}, "augmentations": ["mixup"]},
    "part of an epoch": {"max_steps": 17},
    "segmentation": {**SEGMENTATION, "normalizer": "online"},
    "language": {**LANGUAGE, "normalizer": "online"},
    "detection": {**DETECTION, "normalizer": "batch"},
    "style": {**STYLE, "normalizer": "batch"},
}


def stopper(step: int) -> Any:
    # called once before each update
    asked = iter([None] * step)
    return lambda: next(asked, JobDrained("the worker leaves"))


def final_state(recorder: Recorder) -> Any:
    record = torch.load(recorder.named_checkpoints()[-1].path, weights_only=True)
    return record["state"]["session"]


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            assert_same(x, y)
    else:
        assert a == b


def check_resume(tmp_path: Path, fields: dict[str, Any], norms: Any = None) -> None:
    spec = small_job(**fields)
    whole, _ = train(spec, tmp_path / "whole", norms=norms)
    steps = whole.points["train/loss"][-1][0]
    stop_at = random.Random(str(fields)).randrange(1, steps)
    first, stopped = train(spec, tmp_path / "first", should_stop=stopper(stop_at), norms=norms)
    assert isinstance(stopped, JobStopped)
    named = first.named_checkpoints()
    assert named[-1].step == stop_at
    second, summary = train(spec, tmp_path / "second", resume=named, norms=norms)
    assert isinstance(summary, dict)
    assert second.events("Started")[0].step == stop_at
    for name, points in whole.points.items():
        parts = first.points.get(name, []) + second.points.get(name, [])
        if name in TIMED:
            assert [step for step, _ in parts] == [step for step, _ in points]
        else:
            assert parts == points, name
    assert_same(final_state(second), final_state(whole))


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_a_resumed_job_ends_with_the_same_bits(variant: str, tmp_path: Path) -> None:
    check_resume(tmp_path, VARIANTS[variant])


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_a_resumed_job_ends_with_the_same_bits_for_every_normalizer(
    kind: str, tmp_path: Path
) -> None:
    check_resume(tmp_path, {"normalizer": kind})


def test_a_job_that_lost_its_newest_checkpoint_resumes_from_the_one_before(tmp_path: Path) -> None:
    spec = small_job(checkpoint={"every_steps": 5, "every_s": 3600})
    whole, summary = train(spec, tmp_path / "whole")
    named = [c for c in whole.named_checkpoints() if c.path.exists()]
    assert [c.step for c in named] == [20, 24]
    named[-1].path.write_bytes(named[-1].path.read_bytes()[:-100])
    again, resumed = train(spec, tmp_path / "again", resume=named)
    assert again.events("Started")[0].step == 20
    assert isinstance(summary, dict)
    assert isinstance(resumed, dict)
    assert resumed["val/loss"] == summary["val/loss"]


def test_a_finished_job_that_is_resumed_only_repeats_its_summary(tmp_path: Path) -> None:
    spec = small_job()
    whole, summary = train(spec, tmp_path)
    again, resumed = train(spec, tmp_path, resume=whole.named_checkpoints()[-1:])
    assert again.points == {}
    assert isinstance(summary, dict)
    assert isinstance(resumed, dict)
    assert resumed["val/accuracy"] == summary["val/accuracy"]
    assert resumed["steps"] == summary["steps"] == 24


def test_a_checkpoint_of_another_spec_is_refused(tmp_path: Path) -> None:
    recorder, _ = train(small_job(epochs=1), tmp_path)
    with pytest.raises(CheckpointUnusable, match="spec differs"):
        train(small_job(epochs=1, seed=1), tmp_path, resume=recorder.named_checkpoints())
