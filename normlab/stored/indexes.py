"""The tables of a dataset of pictures in any form; indexes of shards are stored."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Callable, Dict, NamedTuple, Tuple

from normlab.errors import DatasetUnusable
from normlab.specs import shard_folders
from normlab.specs.datasets import DATASETS
from normlab.specs.network_and_data import DatasetSpec
from normlab.stored.arrow import arrow_file
from normlab.stored.data_cache import DataCache
from normlab.stored.parquet import parquet_file
from normlab.stored.table import SampleTable, joined, table_of
from normlab.stored.tars import shard
from normlab.stored.trees import tree


class Index(NamedTuple):
    """The places of the pictures of both splits, and the number of classes."""

    train: SampleTable
    test: SampleTable
    num_classes: int

    @property
    def losses(self) -> Tuple[str, ...]:
        """The parts that are known to be missing."""
        return self.train.losses + self.test.losses


def index_of(spec: DatasetSpec, data_root: Path) -> Index:
    """
    Index the pictures of *spec*; none is decoded.

    Raises:
        DatasetUnusable: files are missing, end early (unless broken samples are left out), or
            contain something else; or the classes of the splits do not match.
    """
    train, test = (_table(spec, data_root, split) for split in ("train", "test"))
    found = Index(train, test, num_classes=1 + int(train.labels.max(initial=-1)))
    if found.losses and not spec.skip_broken:
        raise DatasetUnusable(
            f"{found.losses[0]}; fetch it again, or leave out what is lost with dataset.skip_broken"
        )
    _check(spec, found)
    return found


def _table(spec: DatasetSpec, data_root: Path, split: str) -> SampleTable:
    if not DATASETS[spec.name].shards:
        return tree(data_root, str(spec.folder), split)
    root, kept = data_root / str(spec.folder), DataCache(data_root)
    suffix = DATASETS[spec.name].shards
    paths = shard_folders.files_of(root, split, suffix)
    if not paths:
        raise DatasetUnusable(f"{root} has no {split} files; expected {split}/*{suffix}")
    readers: Dict[str, Callable[[Path], SampleTable]] = {
        ".tar": lambda path: _kept(path, kept, shard),
        ".arrow": arrow_file,
        ".parquet": lambda path: parquet_file(path, kept),
    }
    return joined(root, [readers[suffix](path) for path in paths])


def _kept(path: Path, kept: DataCache, read: Callable[[Path], SampleTable]) -> SampleTable:
    """Return the stored table of the shard at *path*, or read and store it."""
    import numpy as np

    stat = path.stat()
    place = kept.path("index", f"{path}/{stat.st_size}/{stat.st_mtime_ns}", ".npy")
    content = kept.read(place)
    if content is not None:
        return table_of(path.parent, [path], np.load(io.BytesIO(content)))
    found = read(path)
    if not found.losses:
        buffer = io.BytesIO()
        columns = (found.file, found.offset, found.size, found.labels)
        np.save(buffer, np.stack(columns, axis=1))
        kept.write(place, buffer.getvalue())
    return found


def _check(spec: DatasetSpec, found: Index) -> None:
    if found.num_classes < 2:
        raise DatasetUnusable(
            f"{spec.folder}: its pictures have {found.num_classes} classes; expected two or more"
        )
    for split, table in (("train", found.train), ("test", found.test)):
        if not len(table):
            raise DatasetUnusable(f"{spec.folder}: its {split} files hold no pictures")
        wrong = (table.labels < 0) | (table.labels >= found.num_classes)
        if wrong.any():
            first = int(wrong.argmax())
            raise DatasetUnusable(
                f"{spec.folder}: {table.name(first)} has the class {int(table.labels[first])}; "
                f"expected 0 to {found.num_classes - 1}, the classes of the training pictures"
            )
