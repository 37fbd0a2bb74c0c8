"""A dataset in a file of four arrays below the data root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from normlab.data.raw import Raw
from normlab.errors import DatasetUnusable
from normlab.specs.array_files import array
from normlab.specs.dataset_contents import KEYS, sha256
from normlab.specs.network_and_data import DatasetSpec


def load(spec: DatasetSpec, data_root: Path) -> Raw:
    """
    Read the file and check it against *spec*; sequences are not standardized.

    Raises:
        DatasetUnusable: the file has changed since the job was accepted, or holds numbers that are
            not finite.
    """
    path, known = data_root / str(spec.file), spec.contents
    if known is None:
        raise DatasetUnusable(
            f"{spec.file}: it was not inspected when the job was accepted; submit the job again"
        )
    try:
        found = sha256(path)
        if found != known.sha256:
            raise DatasetUnusable(
                f"{spec.file} was changed since the job was accepted: its SHA-256 is now {found}; "
                "submit a new job for the changed file"
            )
        arrays = {key: array(path, key) for key in KEYS}
    except (OSError, ValueError) as e:
        raise DatasetUnusable(f"{path}: cannot be read: {e}") from e
    train_x, test_x = (_data(spec, key, arrays[key]) for key in ("train_x", "test_x"))
    train_y, test_y = (torch.from_numpy(arrays[k].astype("int64")) for k in ("train_y", "test_y"))
    images = train_x.dim() == 4
    return Raw(train_x, train_y, test_x, test_y, known.num_classes, standardize=images)


def _data(spec: DatasetSpec, key: str, values: Any) -> Tensor:
    x = torch.from_numpy(values)
    if x.dtype == torch.uint8 and x.dim() == 4:
        return x
    x = x.float()
    if not bool(torch.isfinite(x).all()):
        first = int((~torch.isfinite(x)).flatten(1).any(1).nonzero()[0])
        raise DatasetUnusable(
            f"{spec.file}: sample {first} of {key} has NaN or infinity; replace these values"
        )
    return x
