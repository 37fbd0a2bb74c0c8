"""Artifacts and diagnostics."""

from __future__ import annotations

import numpy as np
import pytest

from normlab.errors import NotFound
from normlab.events import (
    AnyEvent,
    ArtifactWritten,
    CheckpointWritten,
    Diagnostic,
    Failed,
    Metrics,
    Started,
)
from service.jobs import leases
from service.results import artifacts, diagnostics, reports
from service.store.database import Database
from tests.service.work import claim, submit

LOST = Failed(code="worker_lost", failure_kind="lost", retryable=True, message="gone")


def _artifact(name: str, size: int = 3) -> AnyEvent:
    return ArtifactWritten(name=name, path=f"/jobs/1/{name}", sha256="ab", bytes=size)


def test_files_are_listed_with_their_kinds(database: Database) -> None:
    job = submit(database)
    names = ["weights.safetensors", "confusion.csv", "run.log"]
    reports.keep_all(database, claim(database), [_artifact(name) for name in names])
    found = {file.name: file.kind for file in artifacts.read_all(database, job.id)}
    assert found == {"weights.safetensors": "weights", "confusion.csv": "table", "run.log": "log"}


def test_a_file_written_again_replaces_the_older_one(database: Database) -> None:
    job = submit(database)
    held = claim(database)
    reports.keep_all(database, held, [_artifact("a.csv", 3)])
    leases.fail(database, held, LOST)
    reports.keep_all(database, claim(database), [_artifact("a.csv", 4)])
    (file,) = artifacts.read_all(database, job.id)
    assert (file.bytes, file.attempt) == (4, 2)


def test_only_the_newest_checkpoints_are_remembered(database: Database) -> None:
    job = submit(database, checkpoint={"keep": 2})
    held = claim(database)
    for step in (1, 2, 3):
        written = CheckpointWritten(step=step, path=f"/x/{step}.pt", sha256="ab", bytes=1)
        reports.keep_all(database, held, [written])
    assert [file.step for file in artifacts.read_all(database, job.id)] == [2, 3]


def test_checkpoints_beyond_the_one_that_an_attempt_continues_are_forgotten(
    database: Database,
) -> None:
    submit(database)
    held = claim(database)
    for step in (10, 20):
        written = CheckpointWritten(step=step, path=f"/x/{step}.pt", sha256="ab", bytes=1)
        reports.keep_all(database, held, [written])
    leases.fail(database, held, LOST)
    held = claim(database)
    reports.keep_all(database, held, [Started(step=10, environment={})])  # the later one is damaged
    leases.fail(database, held, LOST)
    assert [saved.step for saved in claim(database).resume] == [10]


def test_a_file_is_found_by_its_name(database: Database) -> None:
    job = submit(database)
    reports.keep_all(database, claim(database), [_artifact("a.csv")])
    assert artifacts.stored(database, job.id, "a.csv") == ("/jobs/1/a.csv", "ab", 3)
    with pytest.raises(NotFound, match=r"no file '\.\./a\.csv'"):
        artifacts.stored(database, job.id, "../a.csv")


def test_a_file_is_found_again_when_the_folder_of_jobs_has_moved(database: Database) -> None:
    job = submit(database)
    folder = f"/here/jobs/{job.id}/attempt-1"
    written = [
        ArtifactWritten(name="a.csv", path=f"{folder}/a.csv", sha256="a", bytes=1),
        CheckpointWritten(step=1, path=f"{folder}/1.pt", sha256="b", bytes=1),
    ]
    held = claim(database)
    reports.keep_all(database, held, written)
    found = artifacts.stored(database, job.id, "a.csv")
    assert found.place == f"{job.id}/attempt-1/a.csv"
    leases.fail(database, held, LOST)
    assert claim(database).resume[0].path == f"{job.id}/attempt-1/1.pt"


@pytest.mark.parametrize("read", [artifacts.read_all, diagnostics.read_all])
def test_files_of_an_unknown_job_are_not_found(database: Database, read: object) -> None:
    assert callable(read)
    assert read(database, submit(database).id) == []
    with pytest.raises(NotFound):
        read(database, "nope")


def test_diagnostics_are_read_by_name_and_step_and_the_last_attempt_counts(
    database: Database,
) -> None:
    job = submit(database)
    held = claim(database)
    for step in (2, 1):
        found = Diagnostic(name="power", step=step, record={"first": np.float32(0.5).item()})
        reports.keep_all(database, held, [found])
    leases.fail(database, held, LOST)
    again = [
        Diagnostic(name="power", step=2, record={"second": float("nan")}),
        Diagnostic(name="ablation", step=9, record={}),
    ]
    reports.keep_all(database, claim(database), again)
    records = diagnostics.read_all(database, job.id)
    assert [(r.name, r.step) for r in records] == [("ablation", 9), ("power", 1), ("power", 2)]
    assert records[2].record == {"second": None, "not_finite": {"/second": "NaN"}}
    assert len(diagnostics.read_all(database, job.id, "power")) == 2


def test_a_batch_of_events_is_kept_whole_or_not_at_all(database: Database) -> None:
    job = submit(database)
    held = claim(database)
    bad = Metrics.model_construct(series={"": None})
    with pytest.raises(Exception, match="name"):
        reports.keep_all(database, held, [_artifact("a.csv"), bad])
    assert artifacts.read_all(database, job.id) == []
