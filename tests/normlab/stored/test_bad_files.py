"""Files that end early or hold something else: each is named, with the rule and the way out."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from normlab.errors import DatasetUnusable
from normlab.specs.job_rules import check
from normlab.specs.jobs import JobSpec
from normlab.specs.network_and_data import DatasetSpec
from normlab.stored.decoding import decoded
from normlab.stored.indexes import index_of
from tests.normlab.data.stored_pictures import samples, write, write_tar

PICTURE = samples(1, 0)[0][0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        PICTURE[: len(PICTURE) // 2],
        PICTURE[:11] + b"\x07" + PICTURE[12:],  # a PNG with a header chunk of 7 bytes
        b"P6 2i 20 255 " + bytes(1200),
        b"P5 4 4 255 1",
        b"II*\0\x08\0\0\0\x01\0\0\x01\x03\0\x01\0\0\0\0\0\0\0\0\0\0\0",  # a TIFF without a height
    ],
)
def test_bytes_that_no_decoder_takes_are_named_whatever_it_raises(content: bytes) -> None:
    with pytest.raises(
        DatasetUnusable, match=r"at byte 512: expected a picture, but .*skip_broken"
    ):
        decoded(content, 8, "000.tar at byte 512")


def dataset(form: str, **fields: Any) -> DatasetSpec:
    return DatasetSpec(name=form, folder="pets", image_size=8, **fields)


def tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A data root with two shards of training pictures."""
    write(tmp_path, "webdataset")
    return tmp_path


@pytest.mark.parametrize(
    ("sample", "beyond", "says"),
    [
        (3, 100, r"after 3 whole samples: 000003\.png has 100 bytes of \d+"),
        (3, -300, "after 3 whole samples: the blocks of zeros that end a tar file are missing"),
        (-1, 5000, "after 25 whole samples: the blocks of zeros that end a tar file are missing"),
    ],
)
def test_a_shard_that_ends_early_is_named_or_counted(
    sample: int, beyond: int, says: str, shards: Path
) -> None:
    path = shards / "pets" / "train" / "000.tar"
    whole = index_of(dataset("webdataset"), shards).train
    end = int(whole.offset[sample if sample >= 0 else 24]) + beyond
    path.write_bytes(path.read_bytes().rstrip(b"\0")[:end])
    with pytest.raises(DatasetUnusable, match=rf"000\.tar: ends early, {says}.*skip_broken"):
        index_of(dataset("webdataset"), shards)
    index = index_of(dataset("webdataset", skip_broken=True), shards)
    assert len(index.losses) == 1
    assert len(index.train) == (28 if sample == 3 else 50)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"1.png": PICTURE}, "1 lacks its class, NAME.cls"),
        ({"1.cls": b"0"}, "1 lacks a picture"),
        ({"1.png": PICTURE, "1.jpg": PICTURE}, "1 has two parts with a picture"),
        ({"1.png": PICTURE, "1.cls": b"cat"}, r"1\.cls holds b'cat'; expected a class number"),
        ({"1.png": PICTURE, "1.cls": b"7"}, "has the class 7; expected 0 to 2"),
    ],
)
def test_a_sample_of_a_shard_that_is_not_one_is_named(
    members: dict[str, bytes], says: str, shards: Path
) -> None:
    tar(shards / "pets" / "test" / "999.tar", members)
    with pytest.raises(DatasetUnusable, match=rf"999\.tar.*{says}"):
        index_of(dataset("webdataset"), shards)


def test_a_shard_that_is_no_tar_file_is_named(shards: Path) -> None:
    (shards / "pets" / "train" / "000.tar").write_bytes(b"\x1f\x8b and so on" * 100)
    with pytest.raises(DatasetUnusable, match=r"000\.tar: expected a tar file, but"):
        index_of(dataset("webdataset"), shards)


def test_shards_of_one_class_are_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_tar(tmp_path / "pets", split, [(PICTURE, 0)] * 3)
    with pytest.raises(DatasetUnusable, match="have 1 classes; expected two or more"):
        index_of(dataset("webdataset"), tmp_path)


def test_a_changed_shard_is_indexed_again(shards: Path) -> None:
    before = index_of(dataset("webdataset"), shards).train
    path = shards / "pets" / "train" / "000.tar"
    tar(path, {"a.png": PICTURE, "a.cls": b"1"})
    after = index_of(dataset("webdataset"), shards).train
    assert (len(before), len(after)) == (50, 26)


def test_a_folder_without_shards_is_refused_at_the_door(shards: Path) -> None:
    spec = JobSpec.model_validate(
        {"normalizer": "batch", "dataset": {"name": "webdataset", "folder": "pets"}}
    )
    assert check(spec, shards) == []
    for path in (shards / "pets" / "test").iterdir():
        path.unlink()
    (problem,) = check(spec, shards)
    assert problem.field == "dataset.folder"
    assert "lacks pets/test/*.tar (or val/, validation/)" in problem.rule


@pytest.mark.parametrize("form", ["huggingface", "parquet"])
def test_an_arrow_or_parquet_file_that_ends_early_is_named(form: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="writes Arrow files")
    write(tmp_path, form)
    path = next((tmp_path / "pets").rglob("*train*" if form == "parquet" else "train/*"))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DatasetUnusable, match=rf"{path.name}: (ends early|truncated)"):
        index_of(dataset(form), tmp_path)


def test_columns_that_are_not_there_are_named_with_those_that_are(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="writes Arrow files")
    write(tmp_path, "huggingface")
    path = tmp_path / "pets" / "train" / "data-00000-of-00001.arrow"
    table = pa.table({"pixels": [b"1"], "label": [1]})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DatasetUnusable, match="has the columns pixels, label; expected a picture"):
        index_of(dataset("huggingface"), tmp_path)


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pets" / "train").mkdir(parents=True)
    (tmp_path / "pets" / "train" / "1.arrow").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DatasetUnusable, match=r"need pyarrow.*pip install 'normlab\[data\]'"):
        index_of(dataset("huggingface"), tmp_path)


def test_only_datasets_in_files_can_be_streamed() -> None:
    spec = {"normalizer": "batch", "loading": {"mode": "stream"}}
    (problem,) = check(JobSpec.model_validate(spec), None)
    assert problem.field == "loading.mode"
    assert problem.rule.startswith("shapes32 is made in memory; 'stream' is for image_folder")
