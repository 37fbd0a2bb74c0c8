"""Projects keep the files that their rules name, and always those that other jobs need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from normlab.errors import Conflict, InvalidSpec, NotFound
from normlab.events import ArtifactWritten, CheckpointWritten, Finished, Metrics
from normlab.records.keeping import ExpiredPage, KeepRequest
from normlab.specs.starting_weights import Longer
from normlab.specs.studies import StudySpec
from service.jobs import allowances, changes, leases, trash
from service.jobs.leases import Lease
from service.keeping import collecting, rules
from service.keeping.collector import Collector
from service.keeping.freeing import Freeing
from service.results import artifacts, continuing, logs, reports, weight_sources
from service.storage.folder import FolderStore
from service.store.audit import Actor
from service.store.database import Database
from service.studies import studies
from tests.service.work import claim, series, submit

SHA = {20: "2" * 64, 40: "4" * 64}
WEIGHTS = "a" * 64
ROOT = Actor("root")
P = "default"


def keep(database: Database, **given: Any) -> None:
    rules.put(database, P, KeepRequest.read(given), ROOT)


def write(folder: Path, mine: Lease, name: str) -> str:
    path = folder / str(mine.job) / "attempt-1" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 100)
    return str(path)


def an_ended_job(database: Database, folder: Path, days: int = 10, **fields: Any) -> str:
    """Two checkpoints, of which the first has the better accuracy, weights and a log."""
    submit(database, checkpoint={"keep": 100}, **fields)
    mine = claim(database)
    curve = Metrics(series={"val/accuracy": series(20, value=0.9)})
    later = Metrics(series={"val/accuracy": series(40, value=0.1)})
    files = [
        CheckpointWritten(step=step, path=write(folder, mine, f"step-{step}.pt"), sha256=sha,
                          bytes=100)
        for step, sha in SHA.items()
    ]  # fmt: skip
    weights = write(folder, mine, "weights.safetensors")
    final = ArtifactWritten(name="weights.safetensors", path=weights, sha256=WEIGHTS, bytes=100)
    assert reports.keep_all(database, mine, [curve, files[0], later, files[1], final], b"hello\n")
    assert leases.finish(database, mine, Finished(step=40, summary={}))
    with database.begin() as connection:
        ago = "update job set finished_at = finished_at - make_interval(days => :d) where id = :job"
        connection.execute(text(ago), {"d": days, "job": mine.job})
    return str(mine.job)


def names(database: Database, job: str) -> set[str]:
    return {one.name for one in artifacts.read_all(database, job)}


def collect(database: Database, folder: Path) -> int:
    """Discard and delete all expired files at once."""
    return Collector(database, FolderStore(folder), grace_s=0).round()


def on_disk(folder: Path, job: str) -> set[str]:
    return {path.name for path in (folder / job).rglob("*") if path.is_file()}


EVERYTHING = {"step-20.pt", "step-40.pt", "weights.safetensors"}


def found(page: ExpiredPage) -> dict[str, tuple[list[str], int]]:
    return {one.kind: (one.files, one.bytes) for one in page.expired}


def stored(database: Database) -> float:
    used = {one.what: one.used for one in allowances.read(database, "project", P)}
    return used["storage_bytes"] or 0


def test_by_default_everything_is_kept(database: Database, tmp_path: Path) -> None:
    job = an_ended_job(database, tmp_path, days=10_000)
    assert collecting.page(database, P).expired == []
    assert collect(database, tmp_path) == 0
    assert names(database, job) == on_disk(tmp_path, job) == EVERYTHING


def test_a_look_shows_what_goes_and_removes_nothing(database: Database, tmp_path: Path) -> None:
    job = an_ended_job(database, tmp_path)
    keep(database, checkpoints_days=7, checkpoints_then="last", weights_days=9, logs_days=10)
    page = collecting.page(database, P)
    assert found(page) == {"checkpoint": (["step-20.pt"], 100),
                           "weights": (["weights.safetensors"], 100), "log": ([], 6)}  # fmt: skip
    assert names(database, job) == EVERYTHING
    keep(database, checkpoints_days=11, weights_days=None, logs_days=11)
    assert collecting.page(database, P).expired == []


def test_what_goes_frees_its_bytes_and_the_use_says_so(database: Database, tmp_path: Path) -> None:
    job = an_ended_job(database, tmp_path)
    before = stored(database)
    keep(database, checkpoints_days=7, checkpoints_then="last", weights_days=7, logs_days=7)
    assert collect(database, tmp_path) == 3  # the job, and two files of it
    assert names(database, job) == on_disk(tmp_path, job) == {"step-40.pt"}
    note = logs.read(database, job).text
    assert "removed by the keep-rules" in note
    assert stored(database) == before - 206 + len(note)
    assert collecting.page(database, P).expired == []  # and the note stays


def test_the_best_checkpoint_is_found_by_the_metric_of_the_rules(
    database: Database, tmp_path: Path
) -> None:
    job = an_ended_job(database, tmp_path)
    keep(database, checkpoints_days=7)
    assert collecting.page(database, P).expired == []  # the last, and the best
    keep(database, goal="minimize")  # the last is the best
    assert collect(database, tmp_path) == 2
    assert names(database, job) == {"step-40.pt", "weights.safetensors"}


def test_whoever_asks_for_what_is_gone_is_told_when_it_went(
    database: Database, tmp_path: Path
) -> None:
    job = an_ended_job(database, tmp_path)
    keep(database, checkpoints_days=7, checkpoints_then="none", weights_days=7)
    collecting.page(database, P, remove=True, by=ROOT)
    with pytest.raises(NotFound, match=r"was removed on 20.* by the keep-rules of its project"):
        artifacts.stored(database, job, "step-40.pt")
    with pytest.raises(Conflict, match="keeps no weights: they were removed on"):
        weight_sources.of_job(database, job)
    with pytest.raises(Conflict, match=r"the checkpoints of job .* were removed on"):
        continuing.longer(database, job, Longer(epochs=50))


def test_jobs_that_have_not_ended_or_are_in_the_trash_are_left_alone(
    database: Database, tmp_path: Path
) -> None:
    again, deleted = an_ended_job(database, tmp_path), an_ended_job(database, tmp_path, seed=1)
    keep(database, checkpoints_days=0, checkpoints_then="none", weights_days=0, logs_days=0)
    with database.begin() as connection:
        connection.execute(text("update job set state = 'failed'"))
    changes.retry(database, again)
    trash.trash(database, deleted)
    assert collect(database, tmp_path) == 0
    claim(database)
    assert collect(database, tmp_path) == 0
    assert names(database, again) == names(database, deleted) == EVERYTHING


def test_what_a_waiting_job_continues_or_starts_from_stays_until_it_has_ended(
    database: Database, tmp_path: Path
) -> None:
    job = an_ended_job(database, tmp_path)
    keep(database, checkpoints_days=7, checkpoints_then="none", weights_days=7)
    longer = submit(database, continues={"job": job, "step": 20, "sha256": SHA[20]}, epochs=50).id
    start = submit(database, init_from={"sha256": WEIGHTS}, seed=3).id
    assert found(collecting.page(database, P)) == {"checkpoint": (["step-40.pt"], 100)}
    changes.cancel(database, longer)
    assert found(collecting.page(database, P)) == {
        "checkpoint": (["step-20.pt", "step-40.pt"], 200)
    }
    changes.cancel(database, start)
    assert set(found(collecting.page(database, P))) == {"checkpoint", "weights"}


def test_the_weights_of_a_twin_stay(database: Database, tmp_path: Path) -> None:
    an_ended_job(database, tmp_path)
    keep(database, weights_days=7)
    fields: dict[str, Any] = {"normalizer": "layer", "checkpoint": {"keep": 100}}
    other = submit(database, **fields, init_from={"twin": {"normalizer": "group"}}).id
    assert set(found(collecting.page(database, P))) == {"weights"}  # of another one
    twin = submit(database, **fields, init_from={"twin": {"normalizer": "batch"}}).id
    assert collecting.page(database, P).expired == []
    changes.cancel(database, twin)
    changes.cancel(database, other)
    assert set(found(collecting.page(database, P))) == {"weights"}


def test_what_a_study_names_stays_while_it_is_going_to_add_jobs(
    database: Database, tmp_path: Path
) -> None:
    an_ended_job(database, tmp_path)
    keep(database, weights_days=7)
    search = {"metric": "val/loss", "trials": 4, "space": {"batch_size": {"choices": [2, 4, 8]}}}
    base = {"normalizer": "batch", "init_from": {"sha256": WEIGHTS}}
    wanted = StudySpec(name="s", base=base, seeds=(0,), search=search)
    study = studies.create(
        database, wanted, owner="ada", place=lambda _: ("cpu", ""), check=lambda _: []
    )[0].id
    assert collecting.page(database, P).expired == []
    studies.cancel(database, study)
    assert set(found(collecting.page(database, P))) == {"weights"}


def test_a_job_that_was_accepted_just_before_gets_its_file_back(
    database: Database, tmp_path: Path
) -> None:
    job = an_ended_job(database, tmp_path)
    keep(database, checkpoints_days=7, checkpoints_then="none", weights_days=7)
    assert collecting.page(database, P, remove=True).expired
    assert names(database, job) == set()
    assert on_disk(tmp_path, job) == EVERYTHING  # still for a moment
    submit(database, init_from={"sha256": WEIGHTS}, seed=3)  # its request had found the weights
    assert Freeing(database, FolderStore(tmp_path), grace_s=0).round() == 2
    assert names(database, job) == on_disk(tmp_path, job) == {"weights.safetensors"}


def test_a_job_that_is_tried_again_gets_its_checkpoints_back(
    database: Database, tmp_path: Path
) -> None:
    job = an_ended_job(database, tmp_path)
    keep(database, checkpoints_days=7, checkpoints_then="none")
    assert collecting.page(database, P, remove=True).expired
    with database.begin() as connection:
        connection.execute(text("update job set state = 'failed'"))
    changes.retry(database, job)
    assert Freeing(database, FolderStore(tmp_path), grace_s=0).round() == 0
    assert [one.step for one in claim(database).resume] == [40, 20]
    assert on_disk(tmp_path, job) == EVERYTHING


def test_a_file_that_cannot_be_deleted_is_deleted_later(database: Database, tmp_path: Path) -> None:
    job = an_ended_job(database, tmp_path)
    keep(database, weights_days=7)
    weights = tmp_path / job / "attempt-1" / "weights.safetensors"
    weights.unlink()
    weights.mkdir()  # no file can be deleted here
    collecting.page(database, P, remove=True)
    failures: list[None] = []
    assert Freeing(database, FolderStore(tmp_path), lambda: failures.append(None), 0).round() == 0
    assert failures == [None]
    weights.rmdir()
    weights.write_bytes(b"x")
    assert Freeing(database, FolderStore(tmp_path), grace_s=0).round() == 1
    assert not weights.exists()


def test_a_long_list_goes_on_where_it_was(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "JOBS_AT_ONCE", 1)
    jobs = {an_ended_job(database, tmp_path, seed=seed) for seed in range(3)}
    keep(database, weights_days=7)
    seen, cursor = set(), None
    while True:
        page = collecting.page(database, P, cursor)
        seen |= {one.job for one in page.expired}
        if (cursor := page.next_cursor) is None:
            break
    assert seen == jobs
    assert collect(database, tmp_path) == 6


def test_rules_are_changed_one_by_one_and_refused_if_they_say_nothing(database: Database) -> None:
    keep(database, checkpoints_days=7)
    keep(database, logs_days=0, best_by="val/loss")
    kept = rules.read(database, P)
    assert (kept.checkpoints_days, kept.weights_days, kept.logs_days) == (7, None, 0)
    assert (kept.checkpoints_then, kept.best_by) == ("last_and_best", "val/loss")
    with pytest.raises(InvalidSpec, match="give at least one of checkpoints_days"):
        keep(database)
    with pytest.raises(InvalidSpec, match="logs_days"):
        keep(database, logs_days=-1)
    with pytest.raises(NotFound, match="nowhere"):
        rules.read(database, "nowhere")
