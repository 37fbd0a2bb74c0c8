"""IDX files, the format of MNIST: a magic number, sizes as big-endian integers, then bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from normlab.data.raw import Raw, check_size, read
from normlab.errors import DatasetUnusable
from normlab.specs.datasets import DATASETS
from normlab.specs.network_and_data import DatasetSpec

_BYTES = 0x08  # the only element type of these datasets


def load(spec: DatasetSpec, data_root: Path) -> Raw:
    """Read a dataset of four IDX files (plain or gzip): images and labels, train and test."""
    facts = DATASETS[spec.name]
    parts = [parse(name, read(facts, data_root, name)) for name in facts.files]
    train_x, train_y, test_x, test_y = parts
    for name, x, y in ((facts.files[0], train_x, train_y), (facts.files[2], test_x, test_y)):
        if x.ndim != 3 or x.shape[1:] != (28, 28) or y.ndim != 1 or len(x) != len(y):
            raise DatasetUnusable(
                f"{name}: expected images (N, 28, 28) and labels (N,), "
                f"found {tuple(x.shape)} and {tuple(y.shape)}"
            )
    return Raw(
        train_x.unsqueeze(1), train_y.long(), test_x.unsqueeze(1), test_y.long(), num_classes=10
    )


def parse(name: str, content: bytes) -> Tensor:
    """
    Return the array in an IDX file.

    Raises:
        DatasetUnusable: the header is not that of IDX, or the length does not match it.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _BYTES:
        raise DatasetUnusable(
            f"{name}: not an IDX file of bytes: "
            f"expected the head 00 00 08, found {content[:4].hex(' ')}"
        )
    dims = content[3]
    head = 4 + 4 * dims
    check_size(name, min(len(content), head), head)
    shape = struct.unpack(f">{dims}I", content[4:head])
    check_size(name, len(content), head + int(np.prod(shape, dtype=np.int64)))
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=head).copy()).view(shape)
