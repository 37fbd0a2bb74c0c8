"""A stack with its files in a bucket is backed up and restored with them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import text

from normlab.errors import Conflict, InvalidSpec, ServiceUnavailable
from normlab.events import CheckpointWritten
from service import migrate
from service.backups.copies import Copies
from service.backups.holding import NamedFile
from service.backups.manifest import Manifest
from service.backups.restoring import restore
from service.backups.writing import check_backup, write_backup
from service.jobs.leases import Lease
from service.results import reports
from service.settings import Settings
from service.storage.bucket import BucketStore
from service.store.database import Database
from service.store.releases import Announcement
from tests.s3 import Bucket
from tests.service.work import claim, submit


class Stack:
    """A database, and a running job that keeps one checkpoint in a bucket."""

    def __init__(self, database: Database, folder: Path, bucket: Bucket) -> None:
        self.database, self.folder, self.bucket = database, folder, bucket
        folder.mkdir()
        submit(database, checkpoint={"keep": 1})
        self.lease: Lease = claim(database)
        Announcement(database, storage=bucket.url).round()

    def save(self, step: int) -> str:
        """Store a checkpoint; the one before it goes."""
        place = f"{self.lease.job}/attempt-1/step-{step}.pt"
        content = b"state after %d" % step
        self.bucket.write(place, content)
        sha256 = hashlib.sha256(content).hexdigest()
        path = f"/scratch/{place}"
        written = CheckpointWritten(step=step, path=path, sha256=sha256, bytes=len(content))
        assert reports.keep_all(self.database, self.lease, [written])
        BucketStore(self.bucket.url).remove([p for p in self.bucket.places() if p != place])
        return place

    def back_up(self, target: Path) -> Manifest:
        store = BucketStore(self.bucket.url)
        return write_backup(self.database.conninfo, self.folder, store, target)


@pytest.fixture
def stack(database: Database, tmp_path: Path, bucket: Bucket) -> Stack:
    return Stack(database, tmp_path / "stack", bucket)


def files_of(manifest: Manifest) -> list[str]:
    return [file.name.rpartition("/")[2] for file in manifest.files]


def test_a_backup_has_the_files_of_the_bucket_and_is_restored_into_another_one(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = stack.save(1)
    written = stack.back_up(tmp_path / "b.tar")
    assert files_of(written) == ["database.dump", "step-1.pt"]
    assert check_backup(tmp_path / "b.tar") == written
    assert written.lost == []
    assert written.damaged == []
    monkeypatch.delenv("NORMLAB_DATABASE_URL", raising=False)
    into = Settings(data_dir=tmp_path / "new", storage=f"s3://{stack.bucket.name}/other")
    restore(tmp_path / "b.tar", into)
    assert b"".join(BucketStore(into.storage).pieces(place, 0, 13)) == b"state after 1"
    assert {p.name for p in into.data_dir.iterdir()} >= {"jobs", "postgres"}
    assert list((into.data_dir / "jobs").iterdir()) == []
    with pytest.raises(Conflict, match="is not empty, and two stacks never share a bucket"):
        restore(tmp_path / "b.tar", into.model_copy(update={"data_dir": tmp_path / "third"}))


def test_a_checkpoint_that_is_replaced_meanwhile_is_in_the_backup_as_the_newer_one(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.save(1)
    hold = Copies.hold
    steps = iter((2, 3))

    def late(self: Copies, file: NamedFile) -> bool:
        step = next(steps, None)
        if step is not None:  # the job goes on while the first snapshots are taken
            stack.save(step)
        return hold(self, file)

    monkeypatch.setattr(Copies, "hold", late)
    written = stack.back_up(tmp_path / "b")
    assert files_of(written) == ["database.dump", "step-3.pt"]
    assert written.lost == []


def test_an_object_that_is_missing_or_damaged_is_named(stack: Stack, tmp_path: Path) -> None:
    place = stack.save(1)
    stack.bucket.write(place, b"State after 1")
    (lost,) = stack.back_up(tmp_path / "b").lost
    assert lost.reason == f"{place} is not whole in {stack.bucket.url}"
    BucketStore(stack.bucket.url).remove([place])
    (lost,) = stack.back_up(tmp_path / "c").lost
    assert lost.name == "step-1.pt"


def test_a_bucket_that_does_not_answer_ends_the_backup_and_leaves_nothing(
    stack: Stack, tmp_path: Path
) -> None:
    stack.save(1)
    stack.bucket.vanish()
    with pytest.raises(ServiceUnavailable, match=stack.bucket.url):
        stack.back_up(tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_backup_is_refused_where_another_bucket_is_named(stack: Stack, tmp_path: Path) -> None:
    other = BucketStore(f"{stack.bucket.url}/elsewhere")
    with pytest.raises(InvalidSpec, match=f"files of jobs in {stack.bucket.url}, and here"):
        write_backup(stack.database.conninfo, stack.folder, other, tmp_path / "b")


def test_a_restored_database_names_the_files_that_its_bucket_does_not_have(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = stack.save(1)
    BucketStore(stack.bucket.url).remove([place])
    monkeypatch.setenv("NORMLAB_DATABASE_URL", stack.database.conninfo)
    monkeypatch.setenv("NORMLAB_STORAGE", stack.bucket.url)
    monkeypatch.delenv("NORMLAB_WORKER_ROLE", raising=False)
    monkeypatch.setattr("sys.argv", ["migrate", "--restored"])
    assert migrate.main() == 0
    printed = capsys.readouterr()
    assert f"{place} is not in {stack.bucket.url}" in printed.err
    assert "1 jobs that ran are queued again; 1 files are missing" in printed.out
    with stack.database.autocommit() as connection:  # no attempt begins there
        assert connection.execute(text("select count(*) from artifact")).scalar() == 0
