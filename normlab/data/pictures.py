"""Decode pictures from files of any supported form into memory."""

from __future__ import annotations

from pathlib import Path
from typing import List, Tuple

import numpy as np
import torch
from torch import Tensor

from normlab.data.raw import Raw
from normlab.errors import DatasetUnusable
from normlab.specs.datasets import IMAGE_FOLDER_SIZE
from normlab.specs.network_and_data import DatasetSpec
from normlab.stored.decoding import decoded
from normlab.stored.indexes import index_of
from normlab.stored.table import SampleTable


def load(spec: DatasetSpec, data_root: Path) -> Raw:
    """
    Decode every picture once, in the order of its index.

    Raises:
        DatasetUnusable: a picture cannot be read, unless *spec* leaves such pictures out.
    """
    size = spec.image_size or IMAGE_FOLDER_SIZE
    index = index_of(spec, data_root)
    broken = list(index.losses)
    train = _decode_all(index.train, size, spec.skip_broken, broken)
    test = _decode_all(index.test, size, spec.skip_broken, broken)
    for split, (x, _) in (("train", train), ("test", test)):
        if not len(x):
            raise DatasetUnusable(f"{spec.folder}: no {split} picture can be read: {broken[-1]}")
    return Raw(*train, *test, num_classes=index.num_classes, broken=tuple(broken))


def _decode_all(
    table: SampleTable, size: int, skip_broken: bool, broken: List[str]
) -> Tuple[Tensor, Tensor]:
    x = np.empty((len(table), 3, size, size), np.uint8)
    y: List[int] = []
    for i in range(len(table)):
        try:
            picture = decoded(table.read(i), size, str(table.root / table.name(i)))
        except DatasetUnusable as e:
            if not skip_broken:
                raise
            broken.append(str(e))
        else:
            x[len(y)] = picture
            y.append(int(table.labels[i]))
    return torch.from_numpy(x[: len(y)]), torch.tensor(y, dtype=torch.int64)
