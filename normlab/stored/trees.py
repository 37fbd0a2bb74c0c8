"""The table of a tree of pictures: FOLDER/{train, test or val}/CLASS/*."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, List

from normlab.errors import DatasetUnusable
from normlab.specs import picture_trees
from normlab.stored.table import Names, SampleTable


def tree(data_root: Path, folder: str, split: str) -> SampleTable:
    """
    List the pictures of *split*, "train" or "test".

    Classes are the names of the folders below train/, sorted; pictures are in the order of their
    classes and names.

    Raises:
        DatasetUnusable: the tree is not complete.
    """
    import numpy as np

    lacks = picture_trees.lacking(data_root, folder)
    root = data_root / folder
    test = picture_trees.held_out(root)
    if lacks or test is None:
        raise DatasetUnusable(f"{data_root} lacks {', '.join(lacks)}")
    top = root / "train" if split == "train" else test
    names: List[str] = []
    labels: List[int] = []
    facts: List[Any] = []
    for number, name in enumerate(picture_trees.classes_of(root / "train")):
        for entry in _entries(top / name):  # a class may be missing in the test set
            stat = entry.stat()
            names.append(os.path.join(top.name, name, entry.name))
            labels.append(number)
            facts.append((stat.st_mtime_ns, stat.st_size))
    stamps, sizes = np.array(facts, dtype=np.int64).reshape(-1, 2).T
    number_of = np.arange(len(names))
    zeros = np.zeros(len(names), np.int64)
    return SampleTable(
        root, Names(names), stamps, number_of, zeros, sizes, np.array(labels, np.int64)
    )


def _entries(folder: Path) -> List[os.DirEntry[str]]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        found = [e for e in entries if Path(e.name).suffix.lower() in picture_trees.SUFFIXES]
    return sorted(found, key=lambda entry: entry.name)
