from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from normlab.errors import InvalidSpec
from normlab.specs.devices import DEVICES
from normlab.specs.job_rules import admit, check
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import BY_KIND
from normlab.specs.sizes import steps

FOLDER = {"name": "image_folder"}
SCENES = {"model": {"name": "unet"}, "dataset": {"name": "scenes32"}}
TEXT = {"model": {"name": "lstm"}, "dataset": {"name": "grammar"}}
OBJECTS = {"model": {"name": "detector"}, "dataset": {"name": "objects32"}}
TEXTURES = {"model": {"name": "stylizer"}, "dataset": {"name": "textures32"}}


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"normalizer": "none", **fields})


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_every_kind_with_its_defaults_is_admitted(kind: str) -> None:
    assert check(job(normalizer=kind), None) == []
    assert check(job(normalizer=kind, **SCENES), None) == []


@pytest.mark.parametrize("kind", ["layer", "group", "online", "none"])
def test_a_recurrent_network_accepts_batch_independent_kinds(kind: str) -> None:
    assert check(job(normalizer=kind, batch_size=1, **TEXT), None) == []


# at their end: "cpu or cuda", and further kinds before
WITH_COLLECTIVES = " or ".join([k for k, facts in DEVICES.items() if facts.collectives][-2:])
BROKEN = [
    ({"model": {"name": "vgg"}}, "model.name", "preresnet8"),
    ({"dataset": {"name": "svhn"}}, "dataset.name", "shapes32"),
    ({"diagnostics": ["aura"]}, "diagnostics", "aura"),
    ({"batch_size": 6001}, "batch_size", "6000"),
    ({"batch_size": 3000, "gradient_accumulation": 3}, "gradient_accumulation", "9000"),
    ({"normalizer": {"kind": "group", "groups": 3}}, "normalizer.groups", "1, 2, 4, 8"),
    ({"replicas": 2, "hosts": 4}, "hosts", "replicas=2"),
    ({"replicas": 6, "hosts": 4}, "hosts", "does not divide replicas=6"),
    ({"replicas": 2, "hosts": 2, "device": "ipu"}, "hosts", WITH_COLLECTIVES),
    ({"sharding": "full"}, "sharding", "raise replicas"),
    ({"replicas": 2, "sharding": "full", "device": "ipu"}, "sharding", WITH_COLLECTIVES),
    (
        {"replicas": 2, "sharding": "full", "device": "cuda", "acceleration": "cuda_graphs"},
        "acceleration",
        "set sharding to 'off'",
    ),
    (
        {"replicas": 2, "sharding": "full", "device": "cuda", "precision": "float16"},
        "precision",
        "use bfloat16",
    ),
    (
        {"replicas": 2, "sharding": "full", "normalizer": "streaming"},
        "normalizer.kind",
        "set sharding to 'off'",
    ),
    (
        {"replicas": 2, "sharding": "full", "diagnostics": ["power"]},
        "diagnostics",
        "no replica has them",
    ),
    (
        {"normalizer": {"kind": "batch", "virtual_batch_size": 64}},
        "normalizer.virtual_batch_size",
        "batch_size=32",
    ),
    (
        {"normalizer": {"kind": "batch", "virtual_batch_size": 5}},
        "normalizer.virtual_batch_size",
        "divide",
    ),
    ({"model": {"name": "resnet18"}, "dataset": {"name": "digits"}}, "model.name", "32 pixels"),
    ({"model": {"zero_last_scale": True}}, "model.zero_last_scale", "use it with a resnet"),
    (
        {"model": {"name": "resnet20", "zero_last_scale": True}, "normalizer": "none"},
        "model.zero_last_scale",
        "has no scale",
    ),
    ({"augmentation": {"crop": 32}}, "augmentation.crop", "32"),
    (
        {"normalizer": "batch", "batch_size": 1, "model": {"name": "resnet18"}},
        "batch_size",
        "1x1",
    ),
    ({"normalizer": "instance", "model": {"name": "resnet18"}}, "normalizer.kind", "group"),
    (
        {"normalizer": {"kind": "topk_batch", "k": 17}, "batch_size": 1},
        "normalizer.k",
        "16 values",
    ),
    (
        {"optimizer": {"name": "adamw", "batch_scaling": "time_constant"}},
        "optimizer.batch_scaling",
        "linear",
    ),
    ({"schedule": {"warmup_epochs": 6, "name": "cosine"}}, "schedule.warmup_epochs", "5"),
    ({"precision": "float16", "device": "cpu"}, "precision", "bfloat16"),
    ({"precision": "float16", "device": "ipu"}, "precision", "float16 is for cuda, not for ipu"),
    ({"acceleration": "cuda_graphs", "device": "cpu"}, "acceleration", "is for cuda"),
    ({"acceleration": "kernels", "device": "cuda"}, "acceleration", "is for cpu"),
    ({"ipu_runtime": "emulated", "device": "cpu"}, "ipu_runtime", "is for ipu"),
    ({"normalizer": "online", "device": "ipu"}, "normalizer.kind", "cannot run on an IPU"),
    ({"tf32": True, "device": "cpu"}, "tf32", "cuda"),
    ({"dataset": FOLDER}, "dataset.folder", "name"),
    ({"dataset": {"name": "digits", "folder": "x"}}, "dataset.folder", "image_folder"),
    ({"dataset": {"name": "digits", "train_size": 1201}}, "dataset.train_size", "1200"),
    ({"model": {"name": "unet"}}, "model.name", "unet is for segmentation and shapes32 for class"),
    ({"dataset": {"name": "scenes32"}}, "model.name", "use unet"),
    ({"dataset": {"name": "grammar"}}, "model.name", "use lstm"),
    ({"model": {"name": "detector"}}, "model.name", "detector is for detection and shapes32 for"),
    ({"dataset": {"name": "objects32"}}, "model.name", "use detector"),
    ({"dataset": {"name": "textures32"}}, "model.name", "use stylizer"),
    ({**OBJECTS, "label_smoothing": 0.1}, "label_smoothing", "the loss of detection takes none"),
    (
        {**OBJECTS, "augmentation": {"flip": True}},
        "augmentation.flip",
        "not the targets of detection",
    ),
    ({**OBJECTS, "diagnostics": ["ablation"]}, "diagnostics", "detection has none"),
    ({**OBJECTS, "metrics": ["val/jaccard"]}, "metrics", "not for detection"),
    ({**TEXTURES, "metrics": ["val/map"]}, "metrics", "is for detection, not for style"),
    ({**TEXTURES, "label_smoothing": 0.1}, "label_smoothing", "the loss of style takes none"),
    ({**SCENES, "augmentation": {"flip": True}}, "augmentation.flip", "leave it out"),
    ({**TEXT, "augmentation": {"crop": 2}}, "augmentation.crop", "leave it out"),
    ({**TEXT, "normalizer": "batch"}, "normalizer.kind", "use 'layer'"),
    ({**TEXT, "normalizer": "bounded_weight"}, "normalizer.kind", "filters"),
    ({**TEXT, "normalizer": {"kind": "layer", "proxy": True}}, "normalizer.proxy", "sigmoid"),
    ({**TEXT, "normalizer": {"kind": "group", "groups": 5}}, "normalizer.groups", "1, 2, 4, 8"),
]


@pytest.mark.parametrize(("fields", "field", "says"), BROKEN)
def test_the_error_for_a_broken_rule_names_the_field_and_valid_values(
    fields: dict[str, Any], field: str, says: str
) -> None:
    problems = check(job(**fields), None)
    assert [p.field for p in problems] == [field]
    assert says in problems[0].rule


def test_admit_raises_with_every_problem_at_once() -> None:
    with pytest.raises(InvalidSpec, match="batch_size") as caught:
        admit(job(batch_size=6001, precision="float16", device="cpu"), None)
    assert [p.field for p in caught.value.problems] == ["batch_size", "precision"]


EMPTY_IDX = b"\0\0\x08\3" + bytes(12)


def test_missing_files_are_named_and_found_again_packed(tmp_path: Path) -> None:
    spec = job(dataset={"name": "mnist"})
    (tmp_path / "mnist").mkdir()
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte"):
        content = EMPTY_IDX if "images" in name else EMPTY_IDX[:3] + b"\1" + bytes(4)
        packed = gzip.compress(content) if name.endswith(".gz") else content
        (tmp_path / "mnist" / name).write_bytes(packed)
    (problem,) = check(spec, tmp_path)
    assert "lacks mnist/t10k-labels-idx1-ubyte; `normlab datasets fetch mnist`" in problem.rule
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\1" + bytes(4))
    assert check(spec, tmp_path) == []


def test_an_image_folder_needs_its_two_trees(tmp_path: Path) -> None:
    spec = job(dataset={**FOLDER, "folder": "birds"})
    (problem,) = check(spec, tmp_path)
    assert "birds/train/" in problem.rule
    assert "birds/test/" in problem.rule
    for place in ("train/owl", "train/wren", "val/owl"):
        (tmp_path / "birds" / place).mkdir(parents=True)
        (problem,) = check(spec, tmp_path)
        (tmp_path / "birds" / place / "1.png").touch()
    assert "lacks birds/val/ (there are no pictures in it; put them into CLASS/" in problem.rule
    assert check(spec, tmp_path) == []


def test_steps_count_whole_updates() -> None:
    assert steps(job(batch_size=32, epochs=12)) == 12 * (6000 // 32)
    assert steps(job(batch_size=8, gradient_accumulation=4, epochs=2)) == 2 * 187
    assert steps(job(batch_size=32, max_steps=10)) == 10
    assert steps(job(epochs=0)) == 0
    assert steps(job(dataset={"name": "digits", "train_size": 100}, batch_size=30, epochs=1)) == 3
    assert steps(job(dataset={**FOLDER, "folder": "birds"})) is None
