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
from normlab.specs.datasets import IMAGE_FOLDER_SIZE
from normlab.specs.jobs import DatasetSpec

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".gif", ".tif", ".tiff"}


def load(spec: DatasetSpec, data_root: Path) -> Raw:
    """
    Decode every picture once: shorter side to the wanted size, the middle cut out, RGB bytes.

    Classes are the names of the folders below train/, sorted; folders and files are read in
    the order of their names.
    """
    size = spec.image_size or IMAGE_FOLDER_SIZE
    root = data_root / str(spec.folder)
    test = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    if not (root / "train").is_dir() or test is None:
        raise DatasetUnusable(f"{root}: expected folders train/ and test/ (or val/)")
    classes = sorted(path.name for path in (root / "train").iterdir() if path.is_dir())
    if len(classes) < 2:
        raise DatasetUnusable(
            f"{root / 'train'}: expected two folders of classes or more, found {len(classes)}"
        )
    train_x, train_y = _decode_all(root / "train", classes, size)
    test_x, test_y = _decode_all(test, classes, size)
    return Raw(train_x, train_y, test_x, test_y, num_classes=len(classes))


def _decode_all(tree: Path, classes: List[str], size: int) -> Tuple[Tensor, Tensor]:
    strange = sorted({path.name for path in tree.iterdir() if path.is_dir()} - set(classes))
    if strange:
        raise DatasetUnusable(f"{tree}: classes {', '.join(strange)} are not in train/")
    files = [
        (path, number)
        for number, name in enumerate(classes)
        for path in sorted((tree / name).glob("*"))
        if path.suffix.lower() in _SUFFIXES
    ]
    if not files:
        raise DatasetUnusable(f"{tree}: no pictures; expected {tree}/CLASS/*.png or the like")
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
