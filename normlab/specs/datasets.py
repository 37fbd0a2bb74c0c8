"""The facts about all datasets for jobs. Needs no torch, and reads no dataset."""

from __future__ import annotations

from pydantic import Field
from typing_extensions import Literal

from normlab.specs import registries
from normlab.specs.base import Spec
from normlab.specs.dataset_facts import DatasetFacts
from normlab.specs.registries import Registry


class TextureOptions(Spec):
    """The options of `textures32`."""

    style: Literal["checks", "stripes", "waves", "blobs"] = Field(
        "checks", description="the texture in whose style the pictures are drawn"
    )


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
