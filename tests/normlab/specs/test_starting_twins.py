"""A job can start from the weights of its twin, which is the same job with a few fields changed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from normlab.errors import InvalidSpec
from normlab.specs.cells import expand
from normlab.specs.jobs import JobSpec
from normlab.specs.starting_twins import starting_twin
from normlab.specs.studies import StudySpec

TWIN = {"normalizer": "batch", "optimizer.lr": 0.1}


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"normalizer": "group", "optimizer": {"lr": 0.02}, **fields})


def starting(twin: Any = TWIN, **fields: Any) -> JobSpec:
    return job(init_from={"twin": twin, "normalizers": "swap"}, **fields)


def test_the_twin_is_the_same_job_from_fresh_weights_with_the_changes() -> None:
    twin = starting_twin(starting(seed=7, freeze=["0.*"], epochs=2, name="mine"))
    assert twin is not None
    expected = job(seed=7, epochs=2, normalizer="batch", optimizer={"lr": 0.1})
    assert twin.fingerprint() == expected.fingerprint()


def test_each_seed_of_a_study_has_its_own_twin() -> None:
    start = {"twin": TWIN, "normalizers": "swap"}
    study = StudySpec.model_validate({
        "name": "s", "base": {"init_from": start}, "axes": {"normalizer": ["group", "layer"]},
        "seeds": [3, 4],
    })  # fmt: skip
    twins = [starting_twin(cell.spec) for cell in expand(study)]
    assert [(t.seed, t.normalizer.kind) for t in twins if t] == [(3, "batch"), (4, "batch")] * 2
    assert len({t.fingerprint() for t in twins if t}) == 2


def test_the_changes_are_part_of_the_fingerprint_and_other_starts_keep_theirs() -> None:
    found = {starting(twin).fingerprint() for twin in (TWIN, {"normalizer": "layer"})}
    assert len(found) == 2
    content = job(init_from={"sha256": "0" * 64})
    assert "twin" not in content.texts()["init_from"]


def test_a_job_without_a_twin_has_none() -> None:
    assert starting_twin(job()) is None
    assert starting_twin(job(init_from={"sha256": "0" * 64})) is None


@pytest.mark.parametrize(
    ("twin", "field"),
    [({"batchsize": 2}, "init_from.twin.batchsize"), ({"epochs": -1}, "init_from.twin.epochs"),
     ({"normalizer": "nothing"}, "init_from.twin.normalizer")],
)  # fmt: skip
def test_changes_that_make_no_job_are_named(twin: Any, field: str) -> None:
    with pytest.raises(InvalidSpec) as found:
        starting_twin(starting(twin))
    assert found.value.problems[0].field == field


@pytest.mark.parametrize(
    "other", [{"job": "01890000-0000-7000-8000-000000000000"}, {"file": "a.safetensors"},
              {"sha256": "0" * 64}]
)  # fmt: skip
def test_a_twin_is_the_only_place_that_is_named(other: Any) -> None:
    with pytest.raises(ValidationError, match=r"name one|leave sha256 out"):
        job(init_from={"twin": TWIN, **other})


def test_people_read_what_differs() -> None:
    start = starting().init_from
    assert start is not None
    assert start.named == 'its twin with normalizer "batch", optimizer.lr 0.1'
