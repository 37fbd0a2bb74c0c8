"""Folders of files with many samples each, by split: tar shards, Parquet, datasets as Arrow."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Tuple

SPLITS: Dict[str, Tuple[str, ...]] = {"train": ("train",), "test": ("test", "val", "validation")}


def files_of(root: Path, split: str, suffix: str) -> List[Path]:
    """
    Return the files of *split*, "train" or "test", in the order of their names.

    They are in a folder with the split's name, or next to each other (or in data/, as on the
    Hugging Face Hub) with the split's name in their own. Those for evaluation are called test, val
    or validation.
    """
    for name in SPLITS[split]:
        for pattern in (f"{name}/*{suffix}", f"*{name}*{suffix}", f"data/*{name}*{suffix}"):
            found = sorted(path for path in root.glob(pattern) if path.is_file())
            if found:
                return found
    return []


def lacking(data_root: Path, folder: Optional[str], suffix: str) -> List[str]:
    """
    List what is missing in *folder* below *data_root*; no file is opened.

    Args:
        folder: None asks whether any folder is complete.
        suffix: the suffix of the files' names, with its dot.
    """
    if folder is not None:
        wanted = {"train": f"train/*{suffix}", "test": f"test/*{suffix} (or val/, validation/)"}
        root = data_root / folder
        missing = [split for split in wanted if not files_of(root, split, suffix)]
        return [f"{folder}/{wanted[split]}" for split in missing]
    folders = [path for path in data_root.iterdir() if path.is_dir()] if data_root.is_dir() else []
    if any(not lacking(data_root, path.name, suffix) for path in folders):
        return []
    return [f"FOLDER/train/*{suffix}", f"FOLDER/test/*{suffix} (or val/)"]
