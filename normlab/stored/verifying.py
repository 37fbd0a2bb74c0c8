"""Read a whole dataset, and name each file or picture that is not as it should be."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Callable, Iterator, Optional

from normlab.errors import DatasetUnusable
from normlab.specs.array_files import array
from normlab.specs.dataset_contents import KEYS
from normlab.specs.dataset_facts import DatasetFacts
from normlab.specs.dataset_files import damage
from normlab.specs.datasets import DATASETS
from normlab.specs.network_and_data import DatasetSpec
from normlab.stored.addresses import PUBLICATIONS
from normlab.stored.decoding import decoded
from normlab.stored.downloads import checksum_of
from normlab.stored.indexes import index_of
from normlab.stored.table import SampleTable

Seen = Callable[[str, int, int], None]
"""Takes the kind of items, how many were read, and how many there are."""

_LEAST_SIDE = 8  # pixels: what a picture is resized to while it is only looked at


def verify(spec: DatasetSpec, data_root: Path, seen: Seen) -> Iterator[str]:
    """
    Yield the problems of the dataset *spec*, each with the file's name.

    Pictures are decoded and arrays read; files with a published checksum are hashed.
    """
    facts = DATASETS[spec.name]
    if facts.of_pictures:
        yield from _pictures(spec, data_root, seen)
    elif facts.of_arrays:
        yield from _arrays(data_root / str(spec.file))
    else:
        yield from _files(facts, data_root, seen)


def _pictures(spec: DatasetSpec, data_root: Path, seen: Seen) -> Iterator[str]:
    try:
        index = index_of(spec.model_copy(update={"skip_broken": True}), data_root)
    except DatasetUnusable as e:
        yield str(e)
        return
    yield from index.losses
    for split, table in (("train", index.train), ("test", index.test)):
        for i in range(len(table)):
            said = _broken(table, i)
            if said is not None:
                yield said
            seen(f"{split} pictures", i + 1, len(table))


def _broken(table: SampleTable, i: int) -> Optional[str]:
    name = str(table.root / table.name(i))
    try:
        decoded(table.read(i), _LEAST_SIDE, name)
    except DatasetUnusable as e:
        return str(e)
    return None


def _arrays(path: Path) -> Iterator[str]:
    for key in KEYS:
        try:
            array(path, key)
        except (OSError, ValueError, KeyError, EOFError, zlib.error) as e:
            yield f"{path}: {key} cannot be read: {e}"


def _files(facts: DatasetFacts, data_root: Path, seen: Seen) -> Iterator[str]:
    published = {
        f"{one.folder}/{file.name}": file.checksum
        for one in PUBLICATIONS.values()
        for file in one.files
    }
    sizes = facts.file_bytes or (None,) * len(facts.files)
    for number, (name, size) in enumerate(zip(facts.files, sizes)):
        path = facts.find(data_root, name)
        if path is None:
            yield f"{data_root / name}: is missing; normlab datasets fetch {facts.name}"
            continue
        said = damage(path, size) or _unpacking(path)
        md5 = published.get(str(path.relative_to(data_root)))
        if said is None and md5 is not None and checksum_of(path) != md5:
            said = f"has the MD5 {checksum_of(path)}, but {md5} was published"
        if said is not None:
            yield f"{path}: {said}; remove its folder, then normlab datasets fetch {facts.name}"
        seen("files", number + 1, len(facts.files))


def _unpacking(path: Path) -> Optional[str]:
    if path.suffix != ".gz":
        return None
    try:
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as e:
        return f"cannot be unpacked: {e}"
    return None
