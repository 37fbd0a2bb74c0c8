"""Open a job's data in memory or as a stream, as the job asks or as the data's size requires."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Iterator, Optional, Tuple, Union

from normlab.data.datasets import Data, load
from normlab.data.moments import shift_and_scale
from normlab.data.sources import Pictures, Rows
from normlab.data.stream import Stream
from normlab.data.survey import Stop, survey_pictures, survey_rows
from normlab.data.training_data import TrainingData
from normlab.data.workers import lost_readers_named
from normlab.errors import DatasetUnusable
from normlab.host.limits import usable_cores
from normlab.specs.array_files import heads
from normlab.specs.dataset_contents import sha256
from normlab.specs.datasets import DATASETS, IMAGE_FOLDER_SIZE
from normlab.specs.jobs import JobSpec
from normlab.specs.network_and_data import IN_MEMORY_BYTES
from normlab.stored.arrays import records, why_not
from normlab.stored.data_cache import DataCache
from normlab.stored.indexes import Index, index_of

_MOST_WORKERS = 4  # unless a job asks for more


@contextmanager
def opened(spec: JobSpec, data_root: Path, stop: Stop) -> Iterator[TrainingData]:
    """
    Give the data of *spec*; afterwards, free them and end the processes that read them.

    Raises:
        ReaderLost: a process that reads the data died.
        NormlabError: the errors of `data_of`.
    """
    with lost_readers_named():
        data = data_of(spec, data_root, stop)
        try:
            yield data
        finally:
            if isinstance(data, Stream):
                data.close()


def data_of(spec: JobSpec, data_root: Path, stop: Stop = lambda: None) -> Union[Data, Stream]:
    """
    Return the data of *spec*, in memory or as a stream.

    Both ways give the same samples to the bit, so a job computes the same numbers.

    Args:
        stop: called while all data are read once; an error that it raises ends the reading.

    Raises:
        DatasetUnusable: files are missing, damaged or of another format.
        JobStopped: *stop* raised it.
    """
    facts = DATASETS.get(spec.dataset.name)
    reads = facts is not None and facts.of_pictures and spec.loading.mode != "memory"
    index = index_of(spec.dataset, data_root) if reads else None
    how, streams = loading(spec, data_root, index)
    if not streams:
        return replace(load(spec.dataset, data_root), loading=how)
    workers = _workers(spec)
    if index is None:
        stream = _rows(spec, data_root, workers, stop)
    else:
        stream = _pictures(spec, index, data_root, workers, stop)
    return replace(stream, loading=f"{how}; {workers} processes read")


def loading(spec: JobSpec, data_root: Path, index: Optional[Index]) -> Tuple[str, bool]:
    """Return a text on how the data of *spec* are read and why, and whether they are streamed."""
    mode = spec.loading.mode
    if mode != "auto":
        return ("streamed" if mode == "stream" else "in memory") + ", as asked", mode == "stream"
    facts = DATASETS.get(spec.dataset.name)
    if facts is None or not facts.streams:
        return "in memory, where it is made", False
    size, obstacle = _decoded_bytes(spec, data_root, index)
    said = f"{size / 2**20:.4g} MiB decoded"
    if size <= IN_MEMORY_BYTES:
        return f"in memory: {said}, at most {IN_MEMORY_BYTES >> 20} MiB", False
    if obstacle:
        return f"in memory, although {said}: {obstacle}", False
    return f"streamed: {said}, more than {IN_MEMORY_BYTES >> 20} MiB", True


def _decoded_bytes(spec: JobSpec, data_root: Path, index: Optional[Index]) -> Tuple[int, str]:
    """Return the samples' bytes in memory, and the reason against streaming them ("" for none)."""
    dataset = spec.dataset
    if index is not None:
        side = dataset.image_size or IMAGE_FOLDER_SIZE
        return (len(index.train) + len(index.test)) * 3 * side * side, ""
    path = data_root / str(dataset.file)
    try:
        found = heads(path)
        obstacle = why_not(path)
    except (OSError, ValueError) as e:
        raise DatasetUnusable(f"{path}: cannot be read: {e}") from e
    floats = 0
    for key in ("train_x", "test_x"):
        count = 1
        for length in found[key].shape:
            count *= length
        floats += count * (1 if found[key].dtype == "uint8" else 4)
    return floats, obstacle


def _workers(spec: JobSpec) -> int:
    if spec.loading.workers is not None:
        return spec.loading.workers
    return max(1, min(_MOST_WORKERS, usable_cores() // spec.replicas_per_host))


def _pictures(spec: JobSpec, index: Index, data_root: Path, workers: int, stop: Stop) -> Stream:
    dataset = spec.dataset
    size = dataset.image_size or IMAGE_FOLDER_SIZE
    splits = {"train": Pictures(index.train, size), "test": Pictures(index.test, size)}
    found = survey_pictures(splits, DataCache(data_root), workers, dataset.skip_broken, stop)
    shift, scale = shift_and_scale(found.moments, dims=4)
    asked = {"train": dataset.train_size, "test": dataset.test_size}
    train, test = (
        Pictures(one.table.kept(found.whole(split, len(one))[: asked[split]]), size)
        for split, one in splits.items()
    )
    said = [message for one in found.broken.values() for message in one.values()]
    return Stream(
        train,
        test,
        index.num_classes,
        workers,
        spec.loading.prefetch,
        shift,
        scale,
        broken=(*index.losses, *said),
    )


def _rows(spec: JobSpec, data_root: Path, workers: int, stop: Stop) -> Stream:
    dataset, known = spec.dataset, spec.dataset.contents
    path = data_root / str(dataset.file)
    if known is None:
        raise DatasetUnusable(
            f"{dataset.file}: it was not inspected when the job was accepted; submit the job again"
        )
    try:
        if sha256(path) != known.sha256:
            raise DatasetUnusable(
                f"{dataset.file} was changed since the job was accepted; submit a new "
                "job for the changed file"
            )
        arrays = {key: records(path, key) for key in ("train_x", "train_y", "test_x", "test_y")}
    except (OSError, ValueError) as e:
        raise DatasetUnusable(f"{path}: cannot be read: {e}") from e

    def split(name: str, asked: Optional[int]) -> Rows:
        x, y = arrays[f"{name}_x"], arrays[f"{name}_y"]
        return Rows(str(dataset.file), x, y, len(x) if asked is None else asked)

    shift = scale = None
    if len(arrays["train_x"].shape) == 3:
        moments = survey_rows(split("train", None), workers, stop)
        shift, scale = shift_and_scale(moments, dims=4)
    return Stream(
        split("train", dataset.train_size),
        split("test", dataset.test_size),
        known.num_classes,
        workers,
        spec.loading.prefetch,
        shift,
        scale,
    )
