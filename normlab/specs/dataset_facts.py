"""The facts about a dataset before it is read. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple, Type

from normlab.specs import picture_trees, shard_folders
from normlab.specs.base import Spec
from normlab.specs.dataset_files import damage


@dataclass(frozen=True)
class DatasetFacts:
    """
    The facts about a dataset before it is read; None for a fact that only its files contain.

    Attributes:
        loader: the module:function that reads it, from the job's `DatasetSpec` and the data root.
        files: its files below the data root.
        file_bytes: the size of each file; empty for IDX files, whose heads give it.
        gzip_too: whether FILE.gz may replace FILE.
        task: a name in specs/tasks.py.
        tree: whether it is a tree of pictures, in a folder that a job names.
        shards: the suffix of files with many samples each, in a folder that a job names, or "".
        of_arrays: whether it is in a file that a job names; the file then gives the missing facts.
        factory: the module:function of a user's own dataset, which *loader* calls.
        options: the options of that factory, or of *loader*.
        standardize: whether to give each channel of *factory*'s data mean 0 and deviation 1.
    """

    name: str
    summary: str
    loader: str
    num_classes: Optional[int]
    channels: Optional[int]
    image_size: Optional[int]
    train_size: Optional[int]
    test_size: Optional[int]
    files: Tuple[str, ...] = ()
    file_bytes: Tuple[int, ...] = ()
    gzip_too: bool = False
    task: str = "classification"
    tree: bool = False
    shards: str = ""
    of_arrays: bool = False
    factory: str = ""
    options: Type[Spec] = Spec
    standardize: bool = True

    @property
    def of_pictures(self) -> bool:
        """Whether it is a folder of encoded pictures that a job names."""
        return self.tree or bool(self.shards)

    @property
    def way_out(self) -> str:
        """Return how to get missing files below the data root."""
        setting = (
            "the folder that NORMLAB_DATA_ROOT names, or `datasets` in the stack's data folder"
        )
        if self.files:
            return f"`normlab datasets fetch {self.name}` brings it into the data root, {setting}"
        return f"put it below the data root, {setting}"

    @property
    def streams(self) -> bool:
        """Whether its samples can be read one by one, so it does not have to fit into memory."""
        return self.of_pictures or self.of_arrays

    def missing(self, data_root: Path, folder: Optional[str] = None) -> List[str]:
        """
        List missing and incomplete files, relative to *data_root*, each with its problem.

        Args:
            folder: the folder of pictures; None asks whether any folder is complete.
        """
        if self.shards:
            return shard_folders.lacking(data_root, folder, self.shards)
        if self.tree:
            return picture_trees.lacking(data_root, folder)
        sizes = self.file_bytes or (None,) * len(self.files)
        found = (self._missing(data_root, name, size) for name, size in zip(self.files, sizes))
        return [said for said in found if said is not None]

    def _missing(self, data_root: Path, name: str, size: Optional[int]) -> Optional[str]:
        path = self.find(data_root, name)
        if path is None:
            return name
        wrong = damage(path, size)
        return None if wrong is None else f"{path.relative_to(data_root)} ({wrong})"

    def find(self, data_root: Path, name: str) -> Optional[Path]:
        """Return the path of the file *name*, or None."""
        plain = data_root / name
        packed = data_root / f"{name}.gz"
        if plain.is_file():
            return plain
        return packed if self.gzip_too and packed.is_file() else None
