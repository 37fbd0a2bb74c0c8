from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from normlab.data import load
from normlab.data.idx import parse
from normlab.errors import DatasetUnusable
from normlab.specs.datasets import DATASETS
from normlab.specs.job_rules import check
from normlab.specs.jobs import JobSpec
from normlab.specs.network_and_data import DatasetSpec


def write_cifar10(root: Path) -> np.ndarray:
    """Write all six files; return the first training file's records."""
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    random = np.random.RandomState(0)
    written = []
    for name in DATASETS["cifar10"].files:
        table = random.randint(0, 256, (10_000, 3073), dtype=np.uint8)
        table[:, 0] %= 10
        (root / name).write_bytes(table.tobytes())
        written.append(table)
    return written[0]


def write_idx(path: Path, array: np.ndarray, packed: bool = False) -> None:
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = head + array.astype(np.uint8).tobytes()
    if packed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


def write_mnist(root: Path, packed: bool = False) -> np.ndarray:
    (root / "mnist").mkdir()
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (30, 28, 28))
    for name, array in zip(
        DATASETS["mnist"].files,
        (images[:20], np.arange(20) % 10, images[20:], np.arange(10)),
    ):
        write_idx(root / name, array, packed)
    return images


def write_pictures(root: Path) -> None:
    for tree, counts in (("train", {"cat": 3, "dog": 2}), ("val", {"cat": 1, "dog": 1})):
        for name, count in counts.items():
            folder = root / "pets" / tree / name
            folder.mkdir(parents=True)
            for i in range(count):
                shade = (200, 100, 0) if name == "cat" else (0, 100, 200)
                Image.new("RGB", (40, 30), shade).save(folder / f"{i}.png")


def test_cifar10_keeps_order_planes_and_labels(tmp_path: Path) -> None:
    table = write_cifar10(tmp_path)
    data = load(DatasetSpec(name="cifar10"), tmp_path)
    assert data.train.x.shape == (50_000, 3, 32, 32)
    assert data.test.x.shape == (10_000, 3, 32, 32)
    assert data.num_classes == 10
    assert data.train.y[:5].tolist() == table[:5, 0].tolist()
    # the red plane is first, row by row
    assert data.train.x[3, 0, 0, :4].tolist() == table[3, 1:5].tolist()
    assert data.train.x[3, 2, 31, 31].item() == table[3, -1]


def test_bytes_are_standardized_by_the_batch(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    data = load(DatasetSpec(name="cifar10"), tmp_path)
    assert data.train.x.dtype == torch.uint8
    x = data.standardize(data.train.x)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(x.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_cifar100_has_the_fine_labels(tmp_path: Path) -> None:
    (tmp_path / "cifar-100-binary").mkdir()
    for name, records in zip(DATASETS["cifar100"].files, (50_000, 10_000)):
        table = np.zeros((records, 3074), np.uint8)
        table[:, 0], table[:, 1] = 7, np.arange(records) % 100
        (tmp_path / name).write_bytes(table.tobytes())
    data = load(DatasetSpec(name="cifar100", train_size=200), tmp_path)
    assert data.num_classes == 100
    assert data.train.y.tolist() == [*range(100), *range(100)]


def test_a_cut_file_is_named_with_what_was_expected_and_found(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(
        DatasetUnusable, match=r"data_batch_3\.bin: truncated: expected 30730000 bytes, found 30729"
    ):
        load(DatasetSpec(name="cifar10"), tmp_path)


def test_labels_out_of_range_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    write_idx(tmp_path / "mnist" / "train-labels-idx1-ubyte", np.full(20, 10))
    with pytest.raises(DatasetUnusable, match="train labels from 10 to 10, expected 0 to 9"):
        load(DatasetSpec(name="mnist"), tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_is_read_plain_or_packed(packed: bool, tmp_path: Path) -> None:
    images = write_mnist(tmp_path, packed)
    data = load(DatasetSpec(name="mnist", train_size=15), tmp_path)
    assert data.train.x.shape == (15, 1, 28, 28)
    assert data.test.x.shape == (10, 1, 28, 28)
    assert np.array_equal(data.train.x[:, 0].numpy(), images[:15])
    assert data.train.y.tolist() == [i % 10 for i in range(15)]


def test_a_cut_gzip_file_is_named(tmp_path: Path) -> None:
    write_mnist(tmp_path, packed=True)
    path = tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DatasetUnusable, match=r"t10k-images-idx3-ubyte\.gz: cannot be read"):
        load(DatasetSpec(name="mnist"), tmp_path)


def test_there_must_be_as_many_labels_as_images(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    write_idx(tmp_path / "mnist" / "train-labels-idx1-ubyte", np.zeros(19))
    with pytest.raises(DatasetUnusable, match=r"found \(20, 28, 28\) and \(19,\)"):
        load(DatasetSpec(name="mnist"), tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "found "),
        (b"\x1f\x8b\x08\x00rest", "found 1f 8b 08 00"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "found 00 00 0d 01"),  # floats
        (b"\0\0\x08\x03\0\0", "truncated: expected 16 bytes, found 6"),
        (b"\0\0\x08\x01\0\0\0\x05abcd", "truncated: expected 13 bytes, found 12"),
        (b"\0\0\x08\x01\0\0\0\x03abcd", "too long: expected 11 bytes, found 12"),
    ],
)
def test_a_file_that_is_not_idx_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(DatasetUnusable, match=f"^some-file: .*{says}"):
        parse("some-file", content)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kept", [0, 3, 10, -1])
def test_a_dataset_with_a_truncated_file_is_not_available(
    tmp_path: Path, packed: bool, kept: int
) -> None:
    write_mnist(tmp_path, packed)
    facts = DATASETS["mnist"]
    assert facts.missing(tmp_path) == []
    path = facts.find(tmp_path, facts.files[0])
    assert path is not None
    path.write_bytes(path.read_bytes()[:kept])
    (said,) = facts.missing(tmp_path)
    assert said.startswith(f"{facts.files[0]}{'.gz' if packed else ''} (")
    with pytest.raises(DatasetUnusable):
        load(DatasetSpec(name="mnist"), tmp_path)


def test_a_truncated_record_file_is_named_with_its_length(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    assert DATASETS["cifar10"].missing(tmp_path) == []
    name = DATASETS["cifar10"].files[3]
    os.truncate(tmp_path / name, 1000)
    assert DATASETS["cifar10"].missing(tmp_path) == [f"{name} (truncated: 1000 bytes of 30730000)"]


def test_a_file_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    assert all("cannot be read" in said for said in DATASETS["mnist"].missing(tmp_path))


def test_a_missing_file_is_named_with_what_is_needed(tmp_path: Path) -> None:
    said = (
        r"no file mnist/train-images.*t10k-labels.*; `normlab datasets fetch mnist` brings it into"
    )
    with pytest.raises(DatasetUnusable, match=said):
        load(DatasetSpec(name="mnist"), tmp_path)


def test_a_job_on_missing_files_is_told_how_to_fetch_them_and_where_they_lie(
    tmp_path: Path,
) -> None:
    for name, says in (
        ("mnist", "`normlab datasets fetch mnist`"),
        ("image_folder", "put it below"),
    ):
        dataset = {"name": name, **({"folder": "pets"} if name == "image_folder" else {})}
        spec = JobSpec.model_validate({"normalizer": "batch", "dataset": dataset})
        rule = next(problem.rule for problem in check(spec, tmp_path))
        assert says in rule
        assert "NORMLAB_DATA_ROOT" in rule


def test_a_folder_of_pictures_is_read_by_class(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    data = load(DatasetSpec(name="image_folder", folder="pets", image_size=16), tmp_path)
    assert (data.num_classes, data.image_size, data.channels) == (2, 16, 3)
    assert data.train.y.tolist() == [0, 0, 0, 1, 1]
    assert data.train.x[0, :, 8, 8].tolist() == [200, 100, 0]
    assert data.test.x[1, :, 8, 8].tolist() == [0, 100, 200]


def test_pictures_are_cut_to_their_middle(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    wide = Image.new("RGB", (64, 16), (0, 0, 0))
    wide.paste((255, 255, 255), (24, 0, 40, 16))
    wide.save(tmp_path / "pets" / "train" / "cat" / "0.png")
    data = load(DatasetSpec(name="image_folder", folder="pets", image_size=16), tmp_path)
    assert data.train.x[0].min() == 255


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    path = tmp_path / "pets" / "train" / "dog" / "1.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DatasetUnusable, match=r"dog/1\.png: expected a picture"):
        load(DatasetSpec(name="image_folder", folder="pets"), tmp_path)


def test_a_class_that_was_never_trained_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    (tmp_path / "pets" / "val" / "bird").mkdir()
    with pytest.raises(DatasetUnusable, match=r"pets/val/ \(the classes bird are not in train/\)"):
        load(DatasetSpec(name="image_folder", folder="pets"), tmp_path)


def test_a_folder_without_a_test_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pets" / "train").mkdir(parents=True)
    with pytest.raises(DatasetUnusable, match=r"lacks pets/test/ \(or val/\)"):
        load(DatasetSpec(name="image_folder", folder="pets"), tmp_path)


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("train", ["pets/train/"]),
        ("val", ["pets/test/ (or val/)"]),
        (
            "train/dog",
            ["it needs folders for at least two classes, and has 1", "the classes dog are not"],
        ),
        ("train/dog/*", ["pets/train/ (there are no pictures in dog;"]),
        ("val/*/*", ["pets/val/ (there are no pictures in it;"]),
    ],
)
def test_a_broken_folder_of_pictures_is_not_available(
    tmp_path: Path, gone: str, said: list[str]
) -> None:
    facts = DATASETS["image_folder"]
    assert facts.missing(tmp_path)[0] == "FOLDER/train/CLASS/*.png"
    write_pictures(tmp_path)
    assert facts.missing(tmp_path) == facts.missing(tmp_path, "pets") == []
    for path in (tmp_path / "pets").glob(gone):
        path.rename(tmp_path / f"{path.parent.name}-{path.name}")
    found = facts.missing(tmp_path, "pets")
    assert len(found) == len(said)
    assert all(part in text for part, text in zip(said, found))
    assert facts.missing(tmp_path)
    with pytest.raises(DatasetUnusable) as refused:
        load(DatasetSpec(name="image_folder", folder="pets"), tmp_path)
    assert found[0] in str(refused.value)


def test_one_whole_folder_of_pictures_is_enough(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    (tmp_path / "birds" / "train").mkdir(parents=True)
    facts = DATASETS["image_folder"]
    assert facts.missing(tmp_path) == []
    assert facts.missing(tmp_path, "birds") == ["birds/test/ (or val/)"]
