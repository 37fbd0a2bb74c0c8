"""A dataset as read from its files, before it is standardized; errors name the file."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Tuple

from torch import Tensor

from normlab.errors import DatasetUnusable
from normlab.specs.dataset_facts import DatasetFacts


@dataclass(frozen=True)
class Raw:
    """
    Samples and their classes.

    Args:
        train_x, test_x: images (N, C, H, W), float32 or bytes, or one-hot sequences (N, K, T).
        train_y, test_y: int64 of shape (N,), or (N, H, W) or (N, T) if each position has a class;
            float32 if targets are not classes (see `specs.tasks.TaskFacts.target_shape`).
        standardize: whether to give the channels mean 0 and deviation 1; False for one-hot samples.
        broken: one message for each sample that could not be read and was left out.
    """

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    num_classes: int
    standardize: bool = True
    broken: Tuple[str, ...] = ()


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
