"""The weights of a twin are found once it has succeeded, and refused at the field before."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from normlab.errors import InvalidSpec
from normlab.events import ArtifactWritten, Finished
from service.jobs import leases, trash
from service.results import reports
from service.results.weight_sources import weights_for
from service.results.weight_twins import problems
from service.storage.folder import FolderStore
from service.store.database import Database
from tests.service.work import claim, spec, submit

CONTENT = b"weights"
FETCH = partial(FolderStore(Path("/")).fetch, into=Path("/"))
START = {"twin": {"normalizer": "batch", "epochs": 1}, "normalizers": "swap"}


def trained(database: Database, folder: Path, **fields: Any) -> str:
    """Run a job that keeps its weights, and return its id."""
    job = submit(database, **{"epochs": 1, **fields}).id
    mine = claim(database)
    path = folder / f"{job}.safetensors"
    path.write_bytes(CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()
    weights = ArtifactWritten(
        name="weights.safetensors", path=str(path), sha256=digest, bytes=len(CONTENT)
    )
    assert reports.keep_all(database, mine, [weights])
    assert leases.finish(database, mine, Finished(step=64, summary={}))
    return job


def swapped(**fields: Any) -> Any:
    return spec(**{"normalizer": "group", "epochs": 3, "init_from": START, **fields})


def test_the_weights_of_the_twin_with_the_same_seed_are_found(
    database: Database, tmp_path: Path
) -> None:
    jobs = {seed: trained(database, tmp_path, seed=seed) for seed in (0, 1)}
    for seed, job in jobs.items():
        ours = swapped(seed=seed)
        assert problems(database, ours) == []
        found = weights_for(database, ours, tmp_path, FETCH)
        assert found == str(tmp_path / f"{job}.safetensors")


def test_a_twin_that_has_not_succeeded_is_refused_at_the_field(
    database: Database, tmp_path: Path
) -> None:
    trained(database, tmp_path, seed=0)
    submit(database, epochs=1, seed=1)
    (problem,) = problems(database, swapped(seed=1))
    assert problem.field == "init_from.twin"
    assert "seed 1, fresh weights and these fields changed" in problem.rule
    assert "run the twin first" in problem.rule


def test_a_twin_in_the_trash_is_none(database: Database, tmp_path: Path) -> None:
    trash.trash(database, trained(database, tmp_path))
    assert problems(database, swapped()) != []
    with pytest.raises(InvalidSpec, match="no job has weights with this content"):
        weights_for(database, swapped(), tmp_path, FETCH)


def test_a_twin_that_trains_nothing_or_is_no_job_is_refused(database: Database) -> None:
    for twin, said in (({"epochs": 0}, "no epochs"), ({"epochs": "many"}, "whole number")):
        (problem,) = problems(database, swapped(init_from={"twin": twin}))
        assert problem.field.startswith("init_from.twin")
        assert said in problem.rule


def test_other_starts_have_no_twin_to_look_for(database: Database) -> None:
    assert problems(database, spec()) == []
