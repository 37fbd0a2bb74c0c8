"""Checks of picture trees, FOLDER/{train, test or val}/CLASS/*, without decoding pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, List, Optional

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".gif", ".tif", ".tiff"}
_PUT_THEM = "put them into CLASS/, as CLASS/*.png or in another format"
_EXPECTED = ["FOLDER/train/CLASS/*.png", "FOLDER/test/CLASS/*.png (or val/)"]


def pictures(folder: Path) -> Iterator[Path]:
    """Yield the pictures in *folder*, in any order."""
    return (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def classes_of(tree: Path) -> List[str]:
    """Return the names of the folders in *tree*, sorted: its classes."""
    return sorted(path.name for path in tree.iterdir() if path.is_dir())


def held_out(root: Path) -> Optional[Path]:
    """Return the folder of the pictures for evaluation, or None."""
    return next((root / name for name in ("test", "val") if (root / name).is_dir()), None)


def lacking(data_root: Path, folder: Optional[str]) -> List[str]:
    """
    List what is missing in the tree *folder* below *data_root*, with errors in parentheses.

    It reads the folder of each class; damaged pictures are found when a job decodes them.

    Args:
        folder: None asks whether any tree is complete; if not, the problems of all are listed.
    """
    if folder is not None:
        return _lacking(data_root, folder)
    lacks: List[str] = []
    for name in _trees(data_root):
        found = _lacking(data_root, name)
        if not found:
            return []
        lacks += found
    return lacks or _EXPECTED


def _trees(data_root: Path) -> List[str]:
    if not data_root.is_dir():
        return []
    return [name for name in classes_of(data_root) if (data_root / name / "train").is_dir()]


def _lacking(data_root: Path, folder: str) -> List[str]:
    root = data_root / folder
    try:
        train, test = root / "train", held_out(root)
        missing = [] if train.is_dir() else [f"{folder}/train/"]
        missing += [f"{folder}/test/ (or val/)"] if test is None else []
        if test is None or missing:
            return missing
        wrong = [(train, _wrong_in_train(train)), (test, _wrong_in_test(test, classes_of(train)))]
    except OSError as e:
        return [f"{folder}/ (it cannot be read: {e.strerror or e})"]
    return [f"{folder}/{tree.name}/ ({said})" for tree, said in wrong if said is not None]


def _wrong_in_train(tree: Path) -> Optional[str]:
    classes = classes_of(tree)
    if len(classes) < 2:
        return f"it needs folders for at least two classes, and has {len(classes)}"
    empty = [name for name in classes if next(pictures(tree / name), None) is None]
    return f"there are no pictures in {', '.join(empty)}; {_PUT_THEM}" if empty else None


def _wrong_in_test(tree: Path, known: List[str]) -> Optional[str]:
    classes = classes_of(tree)
    strange = sorted(set(classes) - set(known))
    if strange:
        return f"the classes {', '.join(strange)} are not in train/"
    if all(next(pictures(tree / name), None) is None for name in classes):
        return f"there are no pictures in it; {_PUT_THEM}"
    return None
