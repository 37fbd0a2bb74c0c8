"""Trainings from a stream: their bits, their resumption, and what cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from normlab.data.opening import data_of
from normlab.data.stream import Stream
from normlab.errors import DatasetUnusable, JobStopped
from normlab.nets import build
from normlab.specs.jobs import JobSpec
from normlab.trained.test_data import TestData
from tests.normlab.data.stored_pictures import write
from tests.normlab.training.recording import Recorder, train
from tests.normlab.training.test_resume import TIMED, assert_same, final_state, stopper

STEPS = 12  # two epochs of six updates


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with `pets`, as tar shards."""
    found = tmp_path_factory.mktemp("root")
    write(found, "webdataset")
    return found


def job(mode: str, workers: int = 2, **fields: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "normalizer": "batch",
            "model": {"name": "convnet", "width": 4},
            "dataset": {"name": "webdataset", "folder": "pets", "image_size": 32},
            "augmentation": {"crop": 2, "flip": True},
            "diagnostics": ["batch_statistics"],
            "batch_size": 8,
            "epochs": 2,
            "checkpoint": {"every_s": 3600},
            "loading": {"mode": mode, "workers": workers},
            **fields,
        }
    )


def fitted(spec: JobSpec, root: Path, folder: str, **options: Any) -> tuple[Recorder, Any]:
    return train(spec, root / folder, data_root=root, **options)


@pytest.fixture(scope="module")
def in_memory(root: Path) -> Recorder:
    """The training of `job` with all pictures in memory."""
    return fitted(job("memory"), root, "memory")[0]


def assert_same_points(some: list[Recorder], other: Recorder) -> None:
    for name, points in other.points.items():
        found = [point for one in some for point in one.points.get(name, [])]
        if name in TIMED:
            assert [step for step, _ in found] == [step for step, _ in points]
        else:
            assert found == points, name


def test_a_streamed_training_ends_with_the_bits_of_one_in_memory(
    root: Path, in_memory: Recorder
) -> None:
    streamed, summary = fitted(job("stream"), root, "stream")
    assert_same_points([streamed], in_memory)
    assert_same(final_state(streamed), final_state(in_memory))
    assert summary["loading"] == "streamed, as asked; 2 processes read"


@pytest.mark.parametrize(("before", "after"), [(2, 1), (0, 3)])
def test_a_stream_resumes_within_an_epoch_with_another_number_of_readers(
    before: int, after: int, root: Path, in_memory: Recorder
) -> None:
    spec = job("stream", before)
    first, stopped = fitted(spec, root, f"first-{before}", should_stop=stopper(8))
    assert isinstance(stopped, JobStopped)
    again = job("stream", after)
    assert again.fingerprint() == spec.fingerprint() == job("memory").fingerprint()
    second, _ = fitted(again, root, f"second-{after}", resume=first.named_checkpoints())
    assert second.events("Started")[0].step == 8
    assert_same_points([first, second], in_memory)
    assert_same(final_state(second), final_state(in_memory))


def broken_root(tmp_path: Path) -> Path:
    write(tmp_path, "image_folder")
    for name in ("000003", "000004"):
        path = tmp_path / "pets" / "train" / "cat" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:60])
    return tmp_path


def trees(mode: str, **dataset: Any) -> JobSpec:
    named = {"name": "image_folder", "folder": "pets", "image_size": 32, **dataset}
    return job(mode, dataset=named, epochs=1)


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_a_picture_that_cannot_be_decoded_ends_the_job_and_is_named(
    mode: str, tmp_path: Path
) -> None:
    root = broken_root(tmp_path)
    with pytest.raises(
        DatasetUnusable, match=r"cat/000003\.png: expected a picture, but .*skip_bro"
    ):
        fitted(trees(mode), root, "run")


def test_broken_pictures_are_counted_and_left_out_if_that_is_asked(tmp_path: Path) -> None:
    root = broken_root(tmp_path)
    found = []
    for mode in ("memory", "stream"):
        recorder, summary = fitted(trees(mode, skip_broken=True), root, mode)
        assert recorder.points["data/broken"] == [(0, 2.0)]
        assert summary["broken_samples"] == 2
        found.append(recorder)
    assert_same_points([found[1]], found[0])
    assert_same(final_state(found[0]), final_state(found[1]))


def test_loaded_test_data_are_streamed_where_the_job_was(root: Path) -> None:
    found = []
    for mode in ("memory", "stream"):
        spec = job(mode)
        data = TestData(spec, data_of(spec, root))
        model = build(spec.model, spec.normalizer, 3, 3, 32)
        model.load_state_dict({k: torch.ones_like(v) for k, v in model.state_dict().items()})
        found.append((len(data), [x for x, _ in data], data.evaluate(model)))
    assert_same(found[1], found[0])
    assert isinstance(data._data, Stream)
