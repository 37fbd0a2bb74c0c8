"""Weights are found by job, file and content, as long as they can be used."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from normlab.errors import Conflict, InvalidSpec
from normlab.events import ArtifactWritten, CheckpointWritten, Finished
from normlab.specs.starting_weights import InitFrom, Longer, find_with
from service.jobs import leases, trash
from service.results import continuing, reports, weight_sources
from service.results.weight_sources import WeightSources, weights_for
from service.storage.folder import FolderStore
from service.store.database import Database
from tests.service.work import claim, spec, submit

CONTENT = b"weights"
FETCH = partial(FolderStore(Path("/")).fetch, into=Path("/"))
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def job(database: Database, tmp_path: Path) -> str:
    """A job that has succeeded, with a file of weights and a checkpoint."""
    path = tmp_path / "weights.safetensors"
    path.write_bytes(CONTENT)
    made = submit(database, schedule="constant", epochs=1).id
    mine = claim(database)
    checkpoint = tmp_path / "step-64.pt"
    checkpoint.write_bytes(CONTENT)
    facts = {"sha256": SHA, "bytes": len(CONTENT)}
    weights = ArtifactWritten(name=path.name, path=str(path), **facts)
    saved = CheckpointWritten(step=64, path=str(checkpoint), **facts)
    assert reports.keep_all(database, mine, [weights, saved])
    assert leases.finish(database, mine, Finished(step=64, summary={}))
    return made


@pytest.fixture
def door(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WeightSources]:
    """The service's finder, which remembers nothing."""
    monkeypatch.setattr(weight_sources, "REMEMBER_S", 0.0)
    finder = WeightSources(database, tmp_path)
    find_with(finder)
    yield finder
    find_with(None)


def test_the_content_of_a_jobs_weights_is_filled_in(
    database: Database, job: str, door: WeightSources, tmp_path: Path
) -> None:
    for named in (job, {"from": job}, SHA):
        start = InitFrom.model_validate(named)
        assert start.sha256 == SHA
        path = weights_for(database, spec(init_from=start.model_dump()), tmp_path, FETCH)
        assert path == str(tmp_path / "weights.safetensors")


def test_a_job_in_the_trash_is_no_start_and_cannot_be_continued(
    database: Database, job: str, door: WeightSources
) -> None:
    InitFrom.model_validate(job)
    trash.trash(database, job)
    with pytest.raises(ValueError, match="is in the trash; restore it first"):
        InitFrom.model_validate(job)
    with pytest.raises(Conflict, match="is in the trash; restore it first"):
        continuing.longer(database, job, Longer(epochs=2))
    assert weight_sources.of_job(database, job).sha256 == SHA  # it can still be downloaded


def test_a_job_that_a_waiting_job_starts_from_is_kept(
    database: Database, job: str, door: WeightSources
) -> None:
    longer = continuing.longer(database, job, Longer(epochs=2))
    assert continuing.problems(database, longer) == []
    for fields in ({"init_from": job}, {"continues": longer.continues}):
        reader = submit(database, **fields).id
        with pytest.raises(Conflict, match=f"is read by job {reader}"):
            trash.trash(database, job)
        leases.finish(database, claim(database), Finished(step=1, summary={}))


def test_weights_that_are_gone_from_disk_are_named(
    database: Database, job: str, door: WeightSources, tmp_path: Path
) -> None:
    start = spec(init_from=job)
    longer = continuing.longer(database, job, Longer(epochs=2))
    for name in ("weights.safetensors", "step-64.pt"):
        (tmp_path / name).unlink()
    with pytest.raises(InvalidSpec, match=f"the weights of job {job} are gone"):
        weights_for(database, start, tmp_path, FETCH)
    with pytest.raises(InvalidSpec, match=r"the checkpoint of job .* is gone"):
        continuing.checkpoint_for(database, longer, FETCH)


def test_a_file_is_no_weights_by_its_name_alone(door: WeightSources, tmp_path: Path) -> None:
    (tmp_path / "no.safetensors").write_bytes(b"\x05" + bytes(7) + b"nothi")
    with pytest.raises(ValueError, match=r"no\.safetensors"):
        InitFrom.model_validate("no.safetensors")


def test_a_file_that_ends_early_is_named_at_the_door(door: WeightSources, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(save({"w": np.zeros(8, dtype=np.float32)})[:-1])
    size = path.stat().st_size
    with pytest.raises(
        ValueError, match=f"ends early: it has {size} bytes, and its head names {size + 1}; copy"
    ):
        InitFrom.model_validate("net.safetensors")


def test_an_answer_is_remembered_for_a_moment(database: Database, job: str, tmp_path: Path) -> None:
    finder = WeightSources(database, tmp_path)
    start = InitFrom(job=job)
    assert finder(start) == SHA
    database.close()  # another question would fail
    assert finder(start) == SHA
