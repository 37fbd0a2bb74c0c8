"""Deleted jobs and studies wait in the trash, can be restored, and are purged with their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from normlab.errors import Conflict, NotFound
from service.jobs import changes, consumption, listing, reading, trash as jobs
from service.jobs.job_filters import JobFilters
from service.storage.folder import FolderStore
from service.store.database import Database
from service.studies import details, purging, studies, trash as whole
from service.studies.listing import list_studies
from service.studies.purging import Purger
from tests.service.finishing import finish_all, made
from tests.service.work import claim, submit

GRID: dict[str, Any] = {
    "name": "g",
    "base": {"batch_size": 2},
    "axes": {"normalizer": ["batch", "layer"]},
    "seeds": [0],
}


def ended(database: Database, **fields: Any) -> str:
    job = submit(database, **fields).id
    changes.cancel(database, job)
    return job


def listed(database: Database, *, trash: bool = False) -> set[str]:
    return {job.id for job in listing.list_jobs(database, JobFilters(trash=trash)).jobs}


def purge(database: Database, folder: Path, days: int = 0) -> int:
    return Purger(database, FolderStore(folder), days).round()


def grown_old(database: Database, days: int) -> None:
    with database.begin() as connection:
        for table in ("job", "study"):
            back = f"update {table} set trashed_at = trashed_at - make_interval(days => :days)"
            connection.execute(text(back), {"days": days})


def test_a_deleted_job_leaves_the_lists_and_comes_back(database: Database) -> None:
    job, other = ended(database), ended(database, seed=1)
    assert jobs.trash(database, job).trashed_at is not None
    assert (listed(database), listed(database, trash=True)) == ({other}, {job})
    assert jobs.trash(database, job).trashed_at is not None  # again changes nothing
    assert jobs.restore(database, job).trashed_at is None
    assert listed(database) == {job, other}
    with pytest.raises(Conflict, match="is not in the trash"):
        jobs.restore(database, job)


def test_a_job_that_has_not_ended_cannot_be_deleted(database: Database) -> None:
    job = submit(database).id
    with pytest.raises(Conflict, match="is queued; cancel it"):
        jobs.trash(database, job)
    claim(database)
    with pytest.raises(Conflict, match="is running; cancel it"):
        jobs.trash(database, job)


def test_a_job_in_the_trash_is_not_tried_again(database: Database) -> None:
    job = ended(database)
    jobs.trash(database, job)
    with pytest.raises(Conflict, match="in the trash; restore it first"):
        changes.retry(database, job)


def test_a_job_that_a_waiting_job_reads_is_kept(database: Database) -> None:
    source = ended(database)
    reader = submit(database, optimizer={"name": "sgd", "norms_of": source}).id
    with pytest.raises(Conflict, match=f"read by job {reader}"):
        jobs.trash(database, source)
    changes.cancel(database, reader)
    jobs.trash(database, source)


def test_a_cell_of_a_study_goes_only_with_its_study(database: Database) -> None:
    study = made(database, GRID)
    finish_all(database)
    cell = details.get(database, study).grid[0].job
    assert cell is not None
    with pytest.raises(Conflict, match="a cell of study 'g'"):
        jobs.trash(database, cell)
    whole.trash(database, study)
    assert cell in listed(database, trash=True)


def test_a_deleted_study_takes_its_jobs_along_and_brings_them_back(database: Database) -> None:
    alone = ended(database, seed=9)
    study = made(database, GRID)
    finish_all(database)
    assert whole.trash(database, study).trashed_at is not None
    assert listed(database) == {alone}
    assert list_studies(database).studies == []
    assert [s.id for s in list_studies(database, trash=True).studies] == [study]
    with pytest.raises(Conflict, match="in the trash; restore it first"):
        studies.cancel(database, study)
    whole.restore(database, study)
    assert details.get(database, study).counts == {"succeeded": 2}
    assert len(listed(database)) == 3


def test_a_study_that_goes_on_cannot_be_deleted(database: Database) -> None:
    study = made(database, GRID)
    with pytest.raises(Conflict, match="2 of its jobs have not ended; cancel it"):
        whole.trash(database, study)
    studies.cancel(database, study)
    whole.trash(database, study)


def test_the_same_specification_is_computed_anew_after_its_study_was_deleted(
    database: Database,
) -> None:
    study = made(database, GRID)
    finish_all(database)
    whole.trash(database, study)
    again = made(database, GRID)
    assert again != study
    assert details.get(database, again).counts == {"queued": 2}  # nothing from the trash is reused
    with pytest.raises(Conflict, match=f"study {again} has the same specification"):
        whole.restore(database, study)


def test_what_another_study_shows_stays(database: Database) -> None:
    study = made(database, GRID)
    finish_all(database)
    larger = made(database, {**GRID, "name": "larger", "seeds": [0, 1]})
    assert details.get(database, larger).reused == 2
    finish_all(database)
    whole.trash(database, study)
    assert details.get(database, larger).counts == {"succeeded": 4}
    assert len(listed(database)) == 4


def test_old_trash_is_purged_with_its_files_and_the_rest_stays(
    database: Database, tmp_path: Path
) -> None:
    study = made(database, GRID)
    finish_all(database)
    whole.trash(database, study)
    grown_old(database, 31)
    old, new, kept = (ended(database, seed=seed) for seed in (7, 8, 9))
    for job in (old, new, kept):
        folder = tmp_path / job / "attempt-1"
        folder.mkdir(parents=True)
        (folder / "step-10.ckpt").write_bytes(b"x" * 100)
    jobs.trash(database, old)
    grown_old(database, 31)
    jobs.trash(database, new)
    assert purge(database, tmp_path, days=30) == 4  # two cells, their study, and the old job
    assert {path.name for path in tmp_path.iterdir()} == {new, kept}
    with pytest.raises(NotFound):
        reading.get(database, old)
    with pytest.raises(NotFound):
        details.get(database, study)
    assert (listed(database), listed(database, trash=True)) == ({kept}, {new})


def test_a_folder_that_cannot_be_deleted_keeps_its_job_and_no_other(
    database: Database, tmp_path: Path
) -> None:
    stuck, other = ended(database), ended(database, seed=1)
    (tmp_path / stuck).write_bytes(b"a file where the folder should be")
    for job in (stuck, other):
        jobs.trash(database, job)
    failures: list[None] = []
    purger = Purger(database, FolderStore(tmp_path), 0, lambda: failures.append(None))
    assert (purger.round(), len(failures)) == (1, 1)
    assert listed(database, trash=True) == {stuck}


def test_the_trash_of_one_owner_is_emptied_alone(database: Database, tmp_path: Path) -> None:
    mine, theirs = ended(database), ended(database, owner="bob")
    for job in (mine, theirs):
        jobs.trash(database, job)
    assert purging.empty(database, "ada", 30).jobs == 1
    assert purge(database, tmp_path, days=30) == 1
    assert listed(database, trash=True) == {theirs}
    assert purging.summary(database, "ada", 30).jobs == 0


def test_disk_use_is_summed_up_by_owner(database: Database) -> None:
    mine, theirs = ended(database), ended(database, owner="bob")
    with database.begin() as connection:
        for job, size in ((mine, 100), (theirs, 5000)):
            connection.execute(
                text("insert into artifact (job, name, kind, attempt, path, sha256, bytes)"
                     " values (:job, 'a', 'table', 1, 'p', 's', :size)"),
                {"job": job, "size": size},
            )  # fmt: skip
            consumption.recount(connection, UUID(job))
    jobs.trash(database, theirs)
    bob, ada = purging.usage(database)
    assert (bob.owner, bob.bytes, bob.trashed_bytes) == ("bob", 5000, 5000)
    assert (ada.owner, ada.bytes, ada.trashed_bytes) == ("ada", 100, 0)
