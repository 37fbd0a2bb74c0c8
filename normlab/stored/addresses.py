"""Where the public datasets are published, with the checksums that their publishers give."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Tuple

from normlab.errors import InvalidSpec

_ARCHIVE = re.compile(r"(https?://\S+/)(([\w-][\w.-]*?)\.(?:tgz|tar\.gz))")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class PublishedFile:
    """
    A file to be fetched.

    Attributes:
        name: the name of the file.
        checksum: its MD5 in 32 hex digits, or its SHA-256 in 64.
    """

    name: str
    checksum: str


@dataclass(frozen=True)
class Publication:
    """
    A dataset that can be fetched.

    Attributes:
        address: the address of the folder of its files.
        files: the files that are fetched.
        folder: the folder below the data root for the files; archives contain it.
        use: the options of `normlab submit` for a job that reads it.
    """

    address: str
    files: Tuple[PublishedFile, ...]
    folder: str
    use: str


_IDX = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def _idx(*md5s: str) -> Tuple[PublishedFile, ...]:
    return tuple(PublishedFile(f"{stem}-ubyte.gz", md5) for stem, md5 in zip(_IDX, md5s))


PUBLICATIONS: Dict[str, Publication] = {
    "cifar10": Publication(
        "https://www.cs.toronto.edu/~kriz/",
        (PublishedFile("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),),
        "cifar-10-batches-bin",
        "-s dataset.name=cifar10",
    ),
    "cifar100": Publication(
        "https://www.cs.toronto.edu/~kriz/",
        (PublishedFile("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),),
        "cifar-100-binary",
        "-s dataset.name=cifar100",
    ),
    "mnist": Publication(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        _idx(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        "mnist",
        "-s dataset.name=mnist",
    ),
    "fashion_mnist": Publication(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        _idx(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        "fashion_mnist",
        "-s dataset.name=fashion_mnist",
    ),
    "imagenette": Publication(
        "https://s3.amazonaws.com/fast-ai-imageclas/",
        (PublishedFile("imagenette2-320.tgz", "3df6f0d01a2c9592104656642f5e78a3"),),
        "imagenette2-320",
        "-s dataset.name=image_folder -s dataset.folder=imagenette2-320",
    ),
}


def archive_at(address: str, sha256: str) -> Publication:
    """
    Return the publication of one archive of pictures, at *address*, with a folder of its own name.

    Raises:
        InvalidSpec: it is not the address of a packed tar file, or the checksum is not one.
    """
    found = _ARCHIVE.fullmatch(address)
    if found is None:
        raise InvalidSpec(
            f"{address}: expected http:// or https://, and an archive NAME.tgz or NAME.tar.gz "
            "with the folder NAME in it"
        )
    if _SHA256.fullmatch(sha256.lower()) is None:
        raise InvalidSpec(
            f"--sha256 {sha256}: expected 64 hex digits, as `sha256sum {found[2]}` prints them"
        )
    use = f"-s dataset.name=image_folder -s dataset.folder={found[3]}"
    return Publication(found[1], (PublishedFile(found[2], sha256.lower()),), found[3], use)
