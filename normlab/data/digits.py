"""The handwritten digits of scikit-learn: images of 8x8 pixels, enlarged to 16x16."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from normlab.data.raw import Raw
from normlab.errors import DatasetUnusable
from normlab.specs.network_and_data import DatasetSpec

_TRAIN = 1200


def load(spec: DatasetSpec, data_root: Path) -> Raw:
    """Return 1,200 digits for training and the other 597 for testing, from a fixed shuffle."""
    table = np.loadtxt(_file(), delimiter=",", dtype=np.float32)  # 64 pixels, then the class
    table = table[np.random.RandomState(0).permutation(len(table))]
    x = torch.from_numpy(table[:, :64] / 16).view(-1, 1, 8, 8)
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    y = torch.from_numpy(table[:, 64].astype(np.int64))
    return Raw(x[:_TRAIN], y[:_TRAIN], x[_TRAIN:], y[_TRAIN:], num_classes=10)


def _file() -> Path:
    # Importing scikit-learn takes longer than a short job, so its file is read directly.
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise DatasetUnusable("digits comes with scikit-learn; install scikit-learn")
    return Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
