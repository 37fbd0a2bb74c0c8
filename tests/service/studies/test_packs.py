"""A preview says how many packs a study makes; an impossible number of members is refused."""

from __future__ import annotations

from typing import Any

import pytest

from normlab.errors import InvalidSpec
from normlab.specs.jobs import JobSpec
from normlab.specs.pack_sizes import expected_gain, members_of
from normlab.specs.studies import StudySpec
from service.store.database import Database
from service.studies import studies
from tests.service.studies.test_previews import preview

BATCHES = {"axes": [{"normalizer": ["batch", "layer"]}, {"batch_size": [2, 128]}]}


def job(batch_size: int, **fields: Any) -> JobSpec:
    dataset = {"name": "shapes32"}
    return JobSpec.model_validate(
        {"normalizer": "batch", "dataset": dataset, "batch_size": batch_size, **fields}
    )


def test_a_preview_counts_the_packs_that_gain(database: Database) -> None:
    found = preview(database, seeds=20, pack="auto", **BATCHES)
    assert (found.cells, found.packs, found.packed) == (80, 4, 40)  # 16 and 4 of each normalizer
    assert found.pack_gain is not None
    assert found.pack_gain > 2


def test_a_study_that_says_nothing_of_packs_trains_in_them_where_they_gain() -> None:
    assert StudySpec.model_validate({"name": "s", "seeds": 3}).pack == "auto"
    gains = [expected_gain(job(batch), members_of(job(batch), "auto")) for batch in (1, 8, 32, 128)]
    assert all(gain is not None and gain >= 1 for gain in gains)


@pytest.mark.parametrize(
    "fields",
    [
        {"time_limit_s": 60.0},  # which is that of a job alone
        {"dataset": {"name": "image_folder"}},  # which may be streamed
        {"batch_size": 128},  # whose operators have enough to do
    ],
)
def test_auto_leaves_alone_what_a_pack_would_not_serve(fields: dict[str, Any]) -> None:
    spec = JobSpec.model_validate({"normalizer": "batch", "batch_size": 2, **fields})
    assert members_of(spec, "auto") == 1


AT_32 = {"normalizer": "batch", "dataset": {"name": "shapes32"}, "batch_size": 32}


@pytest.mark.parametrize(
    ("fields", "field", "said", "cells", "alone"),
    [
        ({"base": {"normalizer": "batch", "model": {"name": "timm/resnet18"},
                   "dataset": {"name": "shapes32"}}},
         "model.name", "resnet18' cannot be packed", 3, True),
        ({"base": {"normalizer": "batch", "time_limit_s": 60.0}}, "time_limit_s", "alone", 3, True),
        ({"axes": [{"batch_size": [128]}]}, "pack", "times as fast", 3, True),
        ({"axes": [{"normalizer.eps": [1e-5, 1e-3]}], "base": AT_32},
         "normalizer.eps", "unless", 6, False),
        ({"axes": [{"batch_size": [2, 4]}], "seeds": 1}, "batch_size", "the same", 2, True),
        ({"axes": [{"batch_size": [2, 4], "epochs": [1, 2]}], "seeds": 1},
         "batch_size, epochs", "the same", 2, True),
    ],
)  # fmt: skip
def test_a_preview_names_the_field_that_keeps_cells_apart(
    database: Database, fields: dict[str, Any], field: str, said: str, cells: int, alone: bool
) -> None:
    base = {"normalizer": "batch", "dataset": {"name": "shapes32"}, "batch_size": 2}
    found = preview(database, **{"base": base, "axes": [], "seeds": 3, **fields})
    obstacles = [(each.field, each.cells, each.alone) for each in found.pack_obstacles]
    assert obstacles == [(field, cells, alone)]
    assert found.alone == (cells if alone else 0)
    assert said in found.pack_obstacles[0].rule


def test_a_preview_counts_packs_of_several_numbers_of_a_normalizer(database: Database) -> None:
    axes = [{"normalizer.eps": [1e-5, 1e-3]}]
    found = preview(database, base={**AT_32, "batch_size": 2}, axes=axes, seeds=4)
    assert (found.packs, found.packed, found.pack_obstacles) == (1, 8, [])
    alike = preview(database, base={**AT_32, "batch_size": 2}, axes=[], seeds=8)
    assert found.pack_gain is not None
    assert alike.pack_gain is not None
    assert 1.25 < found.pack_gain < alike.pack_gain  # each number needs a layer of its own


def test_a_preview_of_seeds_that_train_together_names_no_field(database: Database) -> None:
    base = {"normalizer": "batch", "dataset": {"name": "shapes32"}, "batch_size": 2}
    assert preview(database, base=base, axes=[], seeds=3).pack_obstacles == []


@pytest.mark.parametrize(
    ("base", "device", "packs"),
    [
        ({"device": "cuda", "acceleration": "cuda_graphs"}, "cuda", 2),
        ({"device": "ipu", "ipu_runtime": "emulated"}, "ipu", 2),
        ({"device": "cuda", "acceleration": "compile"}, "cuda", 0),
        ({"device": "ipu"}, "ipu", 0),
    ],
)
def test_a_preview_counts_the_packs_of_the_chosen_device(
    database: Database, base: dict[str, Any], device: str, packs: int
) -> None:
    base = {"normalizer": "batch", "dataset": {"name": "shapes32"}, "batch_size": 2, **base}
    found = preview(database, base=base, axes=[], seeds=20, device=device)
    assert found.packs == packs
    fields = [each.field for each in found.pack_obstacles]
    assert fields == ([] if packs else ["acceleration" if device == "cuda" else "ipu_runtime"])
    assert (found.pack_gain is None) == (device == "cuda" or packs == 0)  # not measured yet


@pytest.mark.parametrize("limits", [[1.0, None], [None, 1.0]])
def test_a_preview_judges_cells_with_and_without_a_limit_apart(
    database: Database, limits: list[float | None]
) -> None:
    base = {"normalizer": "batch", "dataset": {"name": "shapes32"}, "batch_size": 2,
            "device": "ipu", "ipu_runtime": "emulated"}  # fmt: skip
    axes = [{"optimizer.clip_norm": limits}]
    found = preview(database, base=base, axes=axes, seeds=16, device="ipu")
    assert found.packed == 16, "PopTorch clips a whole program, so only those without a limit"


def test_a_preview_without_packs_says_none(database: Database) -> None:
    found = preview(database, seeds=20, pack="off", **BATCHES)
    assert (found.packs, found.packed, found.pack_gain) == (0, 0, None)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"axes": [{"batch_size": [2, 4]}], "seeds": 1},
            "batch_size: members of a pack need the same value, but these have 2 and 4",
        ),
        (
            {"axes": [], "base": {"normalizer": "batch", "replicas": 2}, "seeds": 4},
            "replicas: jobs with 2",
        ),
        ({"axes": [], "base": {"normalizer": "batch"}, "seeds": 1}, "the study has one cell"),
    ],
)
def test_a_pack_that_cannot_be_is_refused_with_the_field(
    database: Database, fields: dict[str, Any], said: str
) -> None:
    base = {"base": {"normalizer": "batch"}, **fields}
    with pytest.raises(InvalidSpec) as raised:
        preview(database, pack=64, **base)
    assert [problem.field for problem in raised.value.problems] == ["pack"]
    assert said in raised.value.problems[0].rule
    spec = StudySpec.model_validate({"name": "s", "pack": 64, **base})
    with pytest.raises(InvalidSpec, match="no two cells can train in one pack"):
        studies.create(database, spec, owner="ada", place=lambda _: ("cpu", ""), check=lambda _: [])


def test_packs_leave_the_fingerprint_of_a_study_alone() -> None:
    alone = StudySpec.model_validate({"name": "s", "seeds": 3})
    packed = StudySpec.model_validate({"name": "s", "seeds": 3, "pack": "auto"})
    assert packed.fingerprint() == alone.fingerprint()


@pytest.mark.parametrize(
    ("kind", "batch_size", "members", "measured"),
    [
        ("batch", 2, 8, 2.4),
        ("batch", 2, 16, 3.4),
        ("batch", 8, 8, 2.7),
        ("batch", 32, 4, 1.6),
        ("online", 2, 16, 7.0),
        ("streaming", 2, 8, 1.2),
        ("sparse_switchable", 2, 16, 1.3),
    ],
)
def test_the_expected_gain_is_near_the_measured_one(
    kind: str, batch_size: int, members: int, measured: float
) -> None:
    spec = job(batch_size, normalizer=kind)
    assert expected_gain(spec, members) == pytest.approx(measured, rel=0.2)


def test_auto_leaves_networks_alone_that_were_measured_to_lose_in_packs() -> None:
    model = {"name": "convnext"}
    assert members_of(job(2, normalizer="layer", model=model), "auto") == 1
    assert members_of(job(2, normalizer="layer", model={"name": "vit"}), "auto") > 1


def test_auto_takes_fewer_members_where_samples_are_the_cost() -> None:
    assert [members_of(job(n), "auto") for n in (2, 32, 128)] == [16, 4, 1]
    assert [members_of(job(2), asked) for asked in ("off", 7)] == [1, 7]
