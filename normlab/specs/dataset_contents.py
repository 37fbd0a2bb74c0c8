"""The contents of a dataset in a file of four arrays, which are read when a job names it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from pydantic import Field

from normlab.specs.array_files import Head, array, heads
from normlab.specs.base import Spec
from normlab.specs.json_values import MAX_COUNT, Count

KEYS = ("train_x", "train_y", "test_x", "test_y")
_DATA = ("uint8", "float16", "float32", "float64")
_CLASSES = ("uint8", "int8", "int16", "int32", "int64", "uint16", "uint32")
_CHUNK = 1 << 20
_root: List[Path] = []  # the operator's folder of datasets, or empty


class FileContents(Spec):
    """What the file of a dataset holds; filled in when a job is accepted."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file")
    task: str
    channels: Count
    image_size: Count
    num_classes: int = Field(ge=2, le=MAX_COUNT)
    train_size: Count
    test_size: Count


def look_below(data_root: Optional[Path]) -> None:
    """Let jobs name files below *data_root*, and read them; with None, trust what a job says."""
    _root[:] = [] if data_root is None else [data_root]


def contents_of(file: str) -> Optional[FileContents]:
    """
    Return the contents of *file* below the data root; None if this process has no data root.

    A file is read once, and again if its modification time or size changes.

    Raises:
        ValueError: it is not there, or is not a dataset; the message says what is expected.
    """
    if not _root:
        return None
    path = _root[0] / file
    try:
        stat = path.stat()
        return _contents(path, stat.st_mtime_ns, stat.st_size)
    except OSError as e:
        reason = e.strerror or str(e)
        raise ValueError(
            f"{file}: {reason}; put it below the operator's data root (NORMLAB_DATA_ROOT)"
        ) from e


@lru_cache(maxsize=256)
def _contents(path: Path, changed_ns: int, size: int) -> FileContents:
    try:
        found = heads(path)
        task, shape = _checked(found)
        labels = [_range(array(path, key)) for key in ("train_y", "test_y")]
    except ValueError as e:
        raise ValueError(f"{path.name} {e}") from e
    (low, high), (test_low, test_high) = labels
    if min(low, test_low) < 0 or test_high > high or high < 1:
        raise ValueError(
            f"{path.name} has train_y from {low} to {high} and test_y from {test_low} to "
            f"{test_high}; classes are 0 to the largest of train_y, and at least two"
        )
    return FileContents(
        sha256=sha256(path),
        task=task,
        channels=shape[1],
        image_size=shape[2],
        num_classes=high + 1,
        train_size=found["train_x"].shape[0],
        test_size=found["test_x"].shape[0],
    )


def sha256(path: Path) -> str:
    """Hash the file at *path*, in 64 hex digits."""
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            if not chunk:
                return whole.hexdigest()
            whole.update(chunk)


def _checked(found: Dict[str, Head]) -> Tuple[str, Tuple[int, ...]]:
    """Return the task and the shape of train_x."""
    lacking = [key for key in KEYS if key not in found]
    if lacking:
        said = ", ".join(found) or "nothing"
        raise ValueError(f"lacks {', '.join(lacking)}; it has {said}, and needs {', '.join(KEYS)}")
    for key in KEYS:
        allowed = _DATA if key.endswith("x") else _CLASSES
        if found[key].dtype not in allowed:
            raise ValueError(f"has {key} of {found[key].dtype}; use one of {', '.join(allowed)}")
    x = found["train_x"].shape
    square = len(x) == 3 or (len(x) == 4 and x[2] == x[3])
    if not square or 0 in x:
        raise ValueError(
            f"has train_x of shape {x}; expected (N, C, S, S) for images, or (N, C, T)"
        )
    for split in ("train", "test"):
        _check_split(split, found, x)
    return _task(x, found["train_y"].shape), x


def _check_split(split: str, found: Dict[str, Head], train: Tuple[int, ...]) -> None:
    x, y = found[f"{split}_x"].shape, found[f"{split}_y"].shape
    if x[1:] != train[1:] or not x or x[0] == 0:
        raise ValueError(f"has {split}_x of shape {x}; expected (N, *{train[1:]}) as in train_x")
    if y not in ((x[0],), (x[0], *x[2:])):
        raise ValueError(
            f"has {split}_y of shape {y}; expected {(x[0],)}, or {(x[0], *x[2:])} with a class "
            "for each position"
        )
    if len(y) != len(found["train_y"].shape):
        raise ValueError(
            "has a class for each position in one split, and for each sample in the other"
        )


def _task(x: Tuple[int, ...], y: Tuple[int, ...]) -> str:
    if len(x) == 3:
        if len(y) == 1:
            raise ValueError(
                "has sequences with one class each; language needs one for each position"
            )
        return "language"
    return "classification" if len(y) == 1 else "segmentation"


def _range(labels: Any) -> Tuple[int, int]:
    return int(labels.min()), int(labels.max())
