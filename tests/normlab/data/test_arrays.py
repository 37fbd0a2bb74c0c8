"""A file of four arrays is a dataset without any code."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import save_file

from normlab.data import load
from normlab.errors import DatasetUnusable
from normlab.specs.costs import cost
from normlab.specs.dataset_contents import look_below
from normlab.specs.job_rules import check
from normlab.specs.jobs import JobSpec
from normlab.specs.sizes import steps


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    look_below(tmp_path)
    yield tmp_path
    look_below(None)


def arrays(**changes: Any) -> dict[str, Any]:
    r = np.random.RandomState(0)
    given = {
        "train_x": r.randint(0, 256, (12, 3, 8, 8)).astype(np.uint8),
        "train_y": np.arange(12) % 4,
        "test_x": r.randint(0, 256, (4, 3, 8, 8)).astype(np.uint8),
        "test_y": np.arange(4),
    }
    return {key: value for key, value in {**given, **changes}.items() if value is not None}


def write(path: Path, **changes: Any) -> Path:
    np.savez_compressed(path, **arrays(**changes))
    return path


def job(file: str = "my.npz", **fields: Any) -> JobSpec:
    given = {"normalizer": "batch", "dataset": {"name": "file", "file": file}, "batch_size": 4}
    return JobSpec.model_validate({**given, **fields})


def test_what_a_file_holds_is_known_before_the_job_runs(root: Path) -> None:
    write(root / "my.npz")
    spec = job()
    contents = spec.dataset.contents
    assert contents is not None
    assert contents.model_dump(exclude={"sha256"}) == {
        "task": "classification",
        "channels": 3,
        "image_size": 8,
        "num_classes": 4,
        "train_size": 12,
        "test_size": 4,
    }
    assert steps(spec) == 15
    assert cost(spec) is not None
    assert check(spec, root) == []
    data = load(spec.dataset, root)
    assert (data.channels, data.num_classes, len(data.train), len(data.test)) == (3, 4, 12, 4)


def test_safetensors_hold_the_same_data(root: Path) -> None:
    write(root / "my.npz")
    save_file(arrays(), str(root / "my.safetensors"))
    one, other = (load(job(f"my.{kind}").dataset, root) for kind in ("npz", "safetensors"))
    assert one.train.x.equal(other.train.x)
    assert one.test.y.equal(other.test.y)


def test_changed_data_are_another_cell(root: Path) -> None:
    write(root / "my.npz")
    before = job()
    assert job().fingerprint() == before.fingerprint()
    write(root / "my.npz", train_y=(np.arange(12) + 1) % 4)
    assert job().fingerprint() != before.fingerprint()
    with pytest.raises(DatasetUnusable, match=r"my.npz was changed since the job was accepted"):
        load(before.dataset, root)


def test_a_job_process_takes_what_the_service_found(root: Path) -> None:
    write(root / "my.npz")
    accepted = job().model_dump(mode="json")
    look_below(None)
    assert JobSpec.model_validate(accepted).model_dump(mode="json") == accepted


def test_a_stored_job_outlives_its_file(root: Path) -> None:
    accepted = job(file=write(root / "my.npz").name).model_dump(mode="json")
    (root / "my.npz").unlink()
    assert JobSpec.from_store(accepted).model_dump(mode="json") == accepted
    with pytest.raises(ValidationError, match="No such file"):
        JobSpec.model_validate(accepted)


def test_nobody_can_say_what_a_file_holds_but_the_file(root: Path) -> None:
    write(root / "my.npz")
    dataset = job().dataset.model_dump(mode="json")
    dataset["contents"]["num_classes"] = 40
    assert job(dataset=dataset).dataset.contents == job().dataset.contents


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"test_y": None}, "lacks test_y; it has train_x, train_y, test_x"),
        ({"train_x": np.zeros((12, 8, 8, 3), np.uint8)}, r"train_x of shape \(12, 8, 8, 3\)"),
        ({"train_x": np.zeros((12, 3, 8, 8), np.int64)}, "train_x of int64; use one of uint8"),
        ({"train_y": np.zeros(12)}, "train_y of float64; use one of"),
        ({"train_y": np.zeros(11, np.int64)}, r"train_y of shape \(11,\); expected \(12,\)"),
        ({"test_x": np.zeros((4, 3, 9, 9), np.uint8)}, r"test_x of shape \(4, 3, 9, 9\)"),
        ({"test_y": np.array([0, 1, 2, 9])}, "test_y from 0 to 9"),
        ({"train_y": np.arange(12) % 4 - 1}, "train_y from -1 to 2"),
        ({"train_y": np.zeros(12, np.int64), "test_y": np.zeros(4, np.int64)}, "at least two"),
    ],
)
def test_a_file_that_is_no_dataset_is_refused_by_name(
    root: Path, changes: dict[str, Any], rule: str
) -> None:
    write(root / "my.npz", **changes)
    with pytest.raises(ValidationError, match=f"my.npz .*{rule}"):
        job()


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        ("none.npz", "No such file or directory; put it below the operator's data root"),
        ("../my.npz", "leads out of the operator's data root"),
        ("/etc/my.npz", "leads out of the operator's data root"),
        ("my.pt", "String should match pattern"),
        ("text.npz", "is damaged, or is not a .npz file"),
        ("text.safetensors", "is damaged, or is not a .safetensors file"),
    ],
)
def test_a_path_that_leads_to_no_dataset_is_refused(root: Path, file: str, rule: str) -> None:
    for name in ("text.npz", "text.safetensors"):
        (root / name).write_text("text")
    with pytest.raises(ValidationError, match=rule):
        job(file)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"text", r"\(it has 4 bytes\)"),
        (b"\2" + bytes(7) + b"no", r"\(Expecting value: line 1 column 1 \(char 0\)\)"),
        (b"\2" + bytes(7) + b"[]", r"\(its head does not name arrays\)"),
        (b"\7" + bytes(7) + b'{"a":1}', r"\(its head does not name arrays\)"),
        (b"\xff" * 8, r"\(a head of \d+ bytes is too long\)"),
    ],
)
def test_whatever_a_damaged_head_says_the_file_and_the_way_out_are_named(
    root: Path, content: bytes, rule: str
) -> None:
    (root / "my.safetensors").write_bytes(content)
    said = (
        rf"my.safetensors is damaged, or is not a .safetensors file {rule}; write or copy it again"
    )
    with pytest.raises(ValidationError, match=said):
        job("my.safetensors")


def test_what_runs_code_when_it_is_read_is_not_read(root: Path) -> None:
    write(root / "my.npz", train_y=np.array([print] * 12, dtype=object))
    with pytest.raises(ValidationError, match="train_y of object"):
        job()


def test_only_this_dataset_takes_a_file_and_it_needs_one(root: Path) -> None:
    write(root / "my.npz")
    (problem,) = check(job(dataset={"name": "file"}), None)
    assert problem.field == "dataset.file"
    (problem,) = check(job(dataset={"name": "digits", "file": "my.npz"}), None)
    assert problem.rule.startswith("only dataset 'file' takes it, not 'digits'")


def test_numbers_that_are_not_finite_are_named(root: Path) -> None:
    x = np.zeros((12, 3, 8, 8), np.float32)
    x[5, 0, 0, 0] = np.nan
    write(root / "my.npz", train_x=x)
    with pytest.raises(DatasetUnusable, match="sample 5 of train_x has NaN or infinity"):
        load(job().dataset, root)


def test_maps_of_classes_and_sequences_have_their_tasks(root: Path) -> None:
    write(root / "maps.npz", train_y=np.arange(768).reshape(12, 8, 8) % 4,
          test_y=np.zeros((4, 8, 8), np.int64))  # fmt: skip
    assert [p.rule for p in check(job("maps.npz"), None)] == [
        "preresnet8 is for classification and file for segmentation; use unet, or another dataset"
    ]
    text = {"train_x": np.zeros((12, 3, 8), np.float32), "test_x": np.zeros((4, 3, 8), np.float32)}
    write(root / "text.npz", **text, train_y=np.arange(96).reshape(12, 8) % 3,
          test_y=np.zeros((4, 8), np.int64))  # fmt: skip
    assert check(job("text.npz", model={"name": "lstm"}, normalizer="layer"), root) == []
