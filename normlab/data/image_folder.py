"""Pictures in a tree of folders: FOLDER/train/CLASS/*.png, and test/ or val/ beside it."""

from __future__ import annotations

from pathlib import Path
from typing import List, Tuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from normlab.data.raw import Raw
from normlab.errors import DatasetUnusable
from normlab.specs import picture_trees
from normlab.specs.datasets import IMAGE_FOLDER_SIZE
from normlab.specs.network_and_data import DatasetSpec


def load(spec: DatasetSpec, data_root: Path) -> Raw:
    """
    Decode every picture once: shorter side to the wanted size, the middle cut out, RGB bytes.

    Classes are the names of the folders below train/, sorted; folders and files are read in
    the order of their names.
    """
    size = spec.image_size or IMAGE_FOLDER_SIZE
    lacks = picture_trees.lacking(data_root, str(spec.folder))
    root = data_root / str(spec.folder)
    test = picture_trees.held_out(root)
    if lacks or test is None:
        raise DatasetUnusable(f"{data_root} lacks {', '.join(lacks)}")
    classes = picture_trees.classes_of(root / "train")
    train_x, train_y = _decode_all(root / "train", classes, size)
    test_x, test_y = _decode_all(test, classes, size)
    return Raw(train_x, train_y, test_x, test_y, num_classes=len(classes))


def _decode_all(tree: Path, classes: List[str], size: int) -> Tuple[Tensor, Tensor]:
    files = [
        (path, number)
        for number, name in enumerate(classes)
        if (tree / name).is_dir()  # a class may be missing in the test set
        for path in sorted(picture_trees.pictures(tree / name))
    ]
    x = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    for i, (path, _) in enumerate(files):
        x[i] = _decode(path, size)
    return x, torch.tensor([number for _, number in files])


def _decode(path: Path, size: int) -> Tensor:
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as e:
        raise DatasetUnusable(f"{path}: expected a picture, but {e}; replace or remove it") from e
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)
