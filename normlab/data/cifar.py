"""CIFAR-10 and CIFAR-100 in their binary version: records of labels and 3 x 32 x 32 bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from normlab.data.raw import Raw, check_size, read
from normlab.specs.dataset_facts import DatasetFacts
from normlab.specs.datasets import DATASETS
from normlab.specs.network_and_data import DatasetSpec

_PIXELS = 3 * 32 * 32


def load_cifar10(spec: DatasetSpec, data_root: Path) -> Raw:
    """Read CIFAR-10; a record holds the class, then the pixels."""
    facts = DATASETS["cifar10"]
    train = _records(facts, data_root, facts.files[:-1], labels=1, records=10_000)
    test = _records(facts, data_root, facts.files[-1:], labels=1, records=10_000)
    return Raw(*train, *test, num_classes=10)


def load_cifar100(spec: DatasetSpec, data_root: Path) -> Raw:
    """Read CIFAR-100; a record holds the coarse class, the fine class (used), then the pixels."""
    facts = DATASETS["cifar100"]
    train = _records(facts, data_root, facts.files[:1], labels=2, records=50_000)
    test = _records(facts, data_root, facts.files[1:], labels=2, records=10_000)
    return Raw(*train, *test, num_classes=100)


def _records(
    facts: DatasetFacts, data_root: Path, names: Sequence[str], labels: int, records: int
) -> Tuple[Tensor, Tensor]:
    width = labels + _PIXELS
    parts = []
    for name in names:
        content = read(facts, data_root, name)
        check_size(name, len(content), records * width)
        parts.append(np.frombuffer(content, np.uint8).reshape(records, width))
    table = np.concatenate(parts)
    x = torch.from_numpy(table[:, labels:].copy()).view(-1, 3, 32, 32)
    y = torch.from_numpy(table[:, labels - 1].astype(np.int64))
    return x, y
