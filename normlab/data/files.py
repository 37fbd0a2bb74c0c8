"""Read a dataset's files, with errors that name the file and its problem."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from normlab.errors import DatasetUnusable
from normlab.specs.dataset_facts import DatasetFacts


def read(facts: DatasetFacts, data_root: Path, name: str) -> bytes:
    """
    Return the content of the file *name* of a dataset, unpacked.

    Raises:
        DatasetUnusable: the file is missing, or cannot be read or unpacked.
    """
    path = facts.find(data_root, name)
    if path is None:
        raise DatasetUnusable(
            f"{facts.name}: no file {name} below the data root {data_root}; it needs "
            f"{', '.join(facts.files)}; {facts.way_out}"
        )
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                return file.read()
        return path.read_bytes()
    except (OSError, EOFError, zlib.error) as e:
        raise DatasetUnusable(f"{path}: cannot be read: {e}; fetch it again") from e


def check_size(name: str, found: int, expected: int) -> None:
    """
    Check the number of bytes of a file.

    Raises:
        DatasetUnusable: the number is wrong.
    """
    if found != expected:
        state = "truncated" if found < expected else "too long"
        raise DatasetUnusable(
            f"{name}: {state}: expected {expected} bytes, found {found}; fetch it again"
        )
