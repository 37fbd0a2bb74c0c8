"""The facts about all datasets for jobs. Needs no torch, and reads no dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple, Type

from normlab.specs import picture_trees, registries, shard_folders
from normlab.specs.base import Spec
from normlab.specs.dataset_files import damage
from normlab.specs.dataset_options import TextureOptions
from normlab.specs.registries import Registry


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


_IDX = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_CIFAR10 = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")

_OWN = (
    DatasetFacts(
        "digits",
        "scikit-learn's digits, 8x8 enlarged",
        "normlab.data.digits:load",
        10,
        1,
        16,
        1200,
        597,
    ),
    DatasetFacts(
        "shapes32",
        "4 shapes x 4 textures, drawn in memory",
        "normlab.data.shapes32:load",
        16,
        3,
        32,
        6000,
        3000,
    ),
    DatasetFacts(
        "shapes32_hard",
        "shapes32 with strong changes of contrast and brightness by image",
        "normlab.data.shapes32:load",
        16,
        3,
        32,
        6000,
        3000,
    ),
    DatasetFacts(
        "cifar10",
        "CIFAR-10, binary version",
        "normlab.data.cifar:load_cifar10",
        10,
        3,
        32,
        50_000,
        10_000,
        files=tuple(f"cifar-10-batches-bin/{name}" for name in _CIFAR10),
        file_bytes=(10_000 * (1 + 3072),) * len(_CIFAR10),
    ),
    DatasetFacts(
        "cifar100",
        "CIFAR-100 with fine labels, binary version",
        "normlab.data.cifar:load_cifar100",
        100,
        3,
        32,
        50_000,
        10_000,
        files=("cifar-100-binary/train.bin", "cifar-100-binary/test.bin"),
        file_bytes=(50_000 * (2 + 3072), 10_000 * (2 + 3072)),
    ),
    DatasetFacts(
        "mnist",
        "MNIST's handwritten digits, IDX files",
        "normlab.data.idx:load",
        10,
        1,
        28,
        60_000,
        10_000,
        files=tuple(f"mnist/{name}" for name in _IDX),
        gzip_too=True,
    ),
    DatasetFacts(
        "fashion_mnist",
        "Fashion-MNIST, IDX files",
        "normlab.data.idx:load",
        10,
        1,
        28,
        60_000,
        10_000,
        files=tuple(f"fashion_mnist/{name}" for name in _IDX),
        gzip_too=True,
    ),
    DatasetFacts(
        "image_folder",
        "a tree FOLDER/{train,test or val}/CLASS/*.{png,jpg,...} below the data root",
        "normlab.data.pictures:load",
        None,
        3,
        None,
        None,
        None,
        tree=True,
    ),
    DatasetFacts(
        "webdataset",
        "tar shards FOLDER/{train,test or val}/*.tar of NAME.jpg (or .png) and NAME.cls "
        "below the data root",
        "normlab.data.pictures:load",
        None,
        3,
        None,
        None,
        None,
        shards=".tar",
    ),
    DatasetFacts(
        "huggingface",
        "a dataset with pictures that `save_to_disk` wrote, FOLDER/{train,test}/*.arrow "
        "below the data root",
        "normlab.data.pictures:load",
        None,
        3,
        None,
        None,
        None,
        shards=".arrow",
    ),
    DatasetFacts(
        "parquet",
        "Parquet files with pictures, FOLDER/{train,test}/*.parquet or "
        "FOLDER/data/train-*.parquet below the data root",
        "normlab.data.pictures:load",
        None,
        3,
        None,
        None,
        None,
        shards=".parquet",
    ),
    DatasetFacts(
        "file",
        "arrays train_x, train_y, test_x, test_y in a .npz or .safetensors file below the data "
        "root",
        "normlab.data.arrays:load",
        None,
        None,
        None,
        None,
        None,
        of_arrays=True,
    ),
    DatasetFacts(
        "scenes32",
        "two striped shapes, one in front of the other, drawn in memory; a class per pixel",
        "normlab.data.scenes32:load",
        5,
        3,
        32,
        2000,
        500,
        task="segmentation",
    ),
    DatasetFacts(
        "grammar",
        "sentences of a small grammar in windows of 32 characters; the next one is the class",
        "normlab.data.grammar:load",
        27,
        27,
        32,
        2000,
        500,
        task="language",
    ),
    DatasetFacts(
        "objects32",
        "one to four shapes with their boxes, drawn in memory; the outline is the class",
        "normlab.data.objects32:load",
        4,
        3,
        32,
        2000,
        500,
        task="detection",
    ),
    DatasetFacts(
        "textures32",
        "scenes of any contrast, drawn in memory, to be shown in the style of one texture",
        "normlab.data.textures32:load",
        1,
        3,
        32,
        1000,
        200,
        task="style",
        options=TextureOptions,
    ),
)
DATASETS: Registry[DatasetFacts] = Registry(
    registries.DATASETS, {facts.name: facts for facts in _OWN}
)

# The side to which pictures from files are resized if the job does not set it.
IMAGE_FOLDER_SIZE = 64
