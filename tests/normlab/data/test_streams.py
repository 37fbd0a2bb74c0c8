"""A stream of a dataset, against the same dataset in memory."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any, Set, Tuple

import numpy as np
import psutil
import pytest
import torch

from normlab.data.augmenting import Augmenting
from normlab.data.batches import EpochBatches
from normlab.data.opening import loading, opened
from normlab.data.stream import Stream
from normlab.data.training_data import TrainingData
from normlab.errors import DatasetUnusable, JobCancelled, ReaderLost
from normlab.specs import dataset_contents
from normlab.specs.augmentations import Crop, Flip
from normlab.specs.jobs import JobSpec
from normlab.stored.indexes import index_of
from tests.normlab.data.stored_pictures import WRITERS, write
from tests.processes import has_ended

SIZE = 8
CROPS_AND_FLIPS = Augmenting(first=[Crop(pad=1), Flip()])
FORMS = list(WRITERS)
Batch = Tuple[torch.Tensor, torch.Tensor]


def job(form: str, mode: str, workers: int = 2, **dataset: Any) -> JobSpec:
    named = {"folder": "pets", "image_size": SIZE} if form != "file" else {"file": "pets.npz"}
    return JobSpec.model_validate(
        {
            "normalizer": "batch",
            "dataset": {"name": form, **named, **dataset},
            "batch_size": 8,
            "loading": {"mode": mode, "workers": workers},
        }
    )


def epochs(data: TrainingData, begin: int = 0, rows: torch.Tensor | None = None) -> list[Batch]:
    """Return the updates of two epochs from number *begin* on."""
    augmentation = CROPS_AND_FLIPS
    found = []
    for epoch in range(2):
        batches = EpochBatches(data, 8, augmentation, seed=5, epoch=epoch, rows=rows)
        first = max(0, begin - epoch * len(batches))
        found += [batches[i] for i in range(first, len(batches))]
    return found


def assert_equal(some: list[Batch], others: list[Batch]) -> None:
    assert len(some) == len(others) > 0
    for (x, y), (other_x, other_y) in zip(some, others):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)


def never() -> None:
    return None


def pictures(root: Path, form: str) -> None:
    if form in ("huggingface", "parquet"):
        pytest.importorskip("pyarrow", reason="reads Arrow files")
    write(root, form)


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_has_the_bits_of_the_same_data_in_memory(form: str, tmp_path: Path) -> None:
    pictures(tmp_path, form)
    with opened(job(form, "memory"), tmp_path, never) as data:
        whole, test, head = epochs(data), list(data.test_batches(7)), data.first("test", 3)
    with opened(job(form, "stream"), tmp_path, never) as data:
        assert isinstance(data, Stream)
        assert_equal(epochs(data), whole)
        assert_equal(list(data.test_batches(7)), test)
        assert_equal([data.first("test", 3)], [head])


def test_every_form_of_file_has_the_same_samples(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="reads Arrow files")
    found = {}
    for form in FORMS:
        write(tmp_path / form, form)
        with opened(job(form, "stream", workers=0), tmp_path / form, never) as data:
            found[form] = epochs(data)
    for form in FORMS[1:]:
        assert_equal(found[form], found[FORMS[0]])


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_stream_begins_in_the_middle_of_an_epoch_with_any_number_of_workers(
    workers: int, tmp_path: Path
) -> None:
    write(tmp_path, "webdataset")
    with opened(job("webdataset", "memory"), tmp_path, never) as data:
        whole = epochs(data)
    with opened(job("webdataset", "stream", workers), tmp_path, never) as data:
        assert_equal(epochs(data, begin=3), whole[3:])


def test_an_update_can_be_taken_again_and_in_any_order(tmp_path: Path) -> None:
    write(tmp_path, "image_folder")
    with opened(job("image_folder", "memory"), tmp_path, never) as data:
        whole = epochs(data)
    with opened(job("image_folder", "stream"), tmp_path, never) as data:
        batches = EpochBatches(data, 8, CROPS_AND_FLIPS, seed=5, epoch=0)
        order = [2, 2, 3, 0, 5, 5, 4]
        assert_equal([batches[i] for i in order], [whole[i] for i in order])


def test_a_replica_reads_its_own_rows_alone(tmp_path: Path) -> None:
    write(tmp_path, "image_folder")
    rows = torch.tensor([4, 5, 6, 7])
    with opened(job("image_folder", "memory"), tmp_path, never) as data:
        whole = epochs(data, rows=rows)
    with opened(job("image_folder", "stream", workers=0), tmp_path, never) as data:
        assert isinstance(data, Stream)
        asked: list[int] = []
        read = data.train.read
        data.train.read = lambda samples: asked.extend(samples) or read(samples)
        assert_equal(epochs(data, rows=rows), whole)
    assert len(asked) == 4 * len(whole)


def test_nothing_is_read_ahead_beyond_the_last_update(tmp_path: Path) -> None:
    write(tmp_path, "image_folder")
    with opened(job("image_folder", "stream"), tmp_path, never) as data:
        given = EpochBatches(data, 8, Augmenting(), seed=5, epoch=1, updates=9)
        assert [number for number, _ in given._upcoming(1)] == [7, 8]
        given[2]


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_arrays_in_a_file_are_streamed_with_the_bits_they_have_in_memory(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.RandomState(0)
    x = random.randint(0, 256, (70, 2, 6, 6)).astype(dtype)
    y = np.arange(70) % 3
    np.savez(tmp_path / "pets.npz", train_x=x[:50], train_y=y[:50], test_x=x[50:], test_y=y[50:])
    monkeypatch.setattr(dataset_contents, "_root", [tmp_path])
    with opened(job("file", "memory", train_size=40), tmp_path, never) as data:
        whole, test = epochs(data), list(data.test_batches(7))
    with opened(job("file", "stream", train_size=40), tmp_path, never) as data:
        assert_equal(epochs(data), whole)
        assert_equal(list(data.test_batches(7)), test)


def test_compressed_arrays_cannot_be_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = np.zeros((20, 1, 4, 4), np.uint8), np.arange(20) % 2
    np.savez_compressed(tmp_path / "pets.npz", train_x=x, train_y=y, test_x=x, test_y=y)
    monkeypatch.setattr(dataset_contents, "_root", [tmp_path])
    spec, said = job("file", "stream"), r"train_x\.npy.* compressed; write it with numpy\.savez"
    with pytest.raises(DatasetUnusable, match=said), opened(spec, tmp_path, never):
        pass


def test_the_random_numbers_of_torch_are_left_to_the_training(tmp_path: Path) -> None:
    write(tmp_path, "image_folder")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with opened(job("image_folder", "stream"), tmp_path, never) as data:
        epochs(data)
        list(data.test_batches(7))
    assert torch.equal(torch.get_rng_state(), before)


def test_size_chooses_and_the_reason_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "image_folder")
    spec = job("image_folder", "auto")
    index = index_of(spec.dataset, tmp_path)
    how, streams = loading(spec, tmp_path, index)
    assert (how, streams) == ("in memory: 0.01282 MiB decoded, at most 1024 MiB", False)
    monkeypatch.setattr("normlab.data.opening.IN_MEMORY_BYTES", 10_000)
    how, streams = loading(spec, tmp_path, index)
    assert streams
    assert how.startswith("streamed: 0.01282 MiB decoded, more than")
    small = JobSpec.model_validate({"normalizer": "batch"})
    assert loading(small, tmp_path, None) == ("in memory, where it is made", False)


def test_readers_end_with_the_stream(tmp_path: Path) -> None:
    write(tmp_path, "image_folder")
    before = set(psutil.Process().children())  # such as the resource tracker of other tests
    with opened(job("image_folder", "stream"), tmp_path, never) as data:
        epochs(data)
        readers = set(psutil.Process().children()) - before
        assert len(readers) == 2
    assert all(map(has_ended, readers))


def test_a_reader_that_dies_is_an_error_worth_another_attempt(tmp_path: Path) -> None:
    write(tmp_path, "image_folder")
    spec = job("image_folder", "stream")
    others = set(psutil.Process().children())  # such as the servers of other tests
    with pytest.raises(ReaderLost, match="that reads") as lost, opened(
        spec, tmp_path, never
    ) as data:
        _take_updates_from_readers_that_are_killed(data, others)
    assert lost.value.retryable


def _take_updates_from_readers_that_are_killed(
    data: TrainingData, others: Set[psutil.Process]
) -> None:
    epochs(data)
    for reader in set(psutil.Process().children()) - others:
        reader.kill()
    epochs(data)


def test_all_pictures_are_looked_at_once_and_not_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "image_folder")
    spec = job("image_folder", "stream", workers=0)
    with opened(spec, tmp_path, never) as data:
        first = data.first("train", 5)
    monkeypatch.setattr("normlab.data.survey._look", lambda *_: pytest.fail("looked again"))
    with opened(spec, tmp_path, never) as data:
        assert_equal([data.first("train", 5)], [first])


def test_a_request_to_stop_is_heeded_while_all_pictures_are_looked_at(tmp_path: Path) -> None:
    write(tmp_path, "image_folder")
    spec, stop = job("image_folder", "stream"), JobCancelled("enough")
    with pytest.raises(JobCancelled), opened(spec, tmp_path, lambda: stop):
        pass


def test_readers_are_forks_whatever_the_default_of_the_interpreter_is(tmp_path: Path) -> None:
    write(tmp_path, "image_folder")
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        others = set(psutil.Process().children())
        with opened(job("image_folder", "stream", workers=1), tmp_path, never) as data:
            epochs(data)
            (reader,) = set(psutil.Process().children()) - others
            assert reader.cmdline() == psutil.Process().cmdline()
    finally:
        multiprocessing.set_start_method(before, force=True)
