"""A backup has all files that its database names; damaged or newer backups are refused."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from normlab.errors import Conflict, InvalidSpec, ServiceUnavailable, StorageFull
from normlab.events import ArtifactWritten, CheckpointWritten
from normlab.host.locks import held
from service.backups import holding, tools
from service.backups.archives import writing
from service.backups.holding import Links, held_moment
from service.backups.manifest import Manifest
from service.backups.restoring import restore
from service.backups.settling import settle
from service.backups.writing import check_backup, write_backup
from service.jobs import leases, reading
from service.jobs.leases import Lease
from service.results import reports
from service.settings import Settings
from service.storage.folder import FolderStore
from service.store import events
from service.store.database import Database
from service.store.releases import Announcement
from service.store.sight import EVERYTHING
from tests.service.work import claim, submit


class Stack:
    """A database, and a running job with checkpoints on disk."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        submit(database, checkpoint={"keep": 2}, max_attempts=1)
        self.lease: Lease = claim(database)
        self.saved: list[Path] = []

    def save(self, step: int) -> Path:
        """Write a checkpoint as a job process does, which keeps two files."""
        path = self.folder / "jobs" / str(self.lease.job) / "attempt-1" / f"step-{step}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = b"state after %d" % step
        path.write_bytes(content)
        self.saved.append(path)
        if len(self.saved) > 2:
            self.saved.pop(0).unlink()
        sha256 = hashlib.sha256(content).hexdigest()
        written = CheckpointWritten(step=step, path=str(path), sha256=sha256, bytes=len(content))
        assert reports.keep_all(self.database, self.lease, [written])
        return path

    def back_up(self, target: Path) -> Manifest:
        files = FolderStore(self.folder / "jobs")
        return write_backup(self.database.conninfo, self.folder, files, target)


@pytest.fixture
def stack(database: Database, tmp_path: Path) -> Stack:
    made = Stack(database, tmp_path / "stack")
    made.save(1)
    made.save(2)
    return made


@pytest.mark.parametrize("name", ["monday", "monday.tar"])
def test_a_backup_is_whole_and_every_changed_bit_is_found(
    stack: Stack, tmp_path: Path, name: str
) -> None:
    target = tmp_path / "backups" / name
    written = stack.back_up(target)
    assert written.jobs == {"running": 1}
    assert [file.name.rpartition("/")[2] for file in written.files] == [
        "database.dump", "step-1.pt", "step-2.pt",
    ]  # fmt: skip
    assert check_backup(target) == written
    assert {path.name for path in target.parent.iterdir()} == {name}
    assert not (stack.folder / "backing-up").exists()
    _flip_a_bit(target, b"state after 2")
    with pytest.raises(InvalidSpec, match=r"is damaged: jobs/.*step-2\.pt"):
        check_backup(target)


def _flip_a_bit(target: Path, content: bytes) -> None:
    files = [target] if target.is_file() else list(target.rglob("*.pt"))
    (file,) = (file for file in files if content in file.read_bytes())
    file.write_bytes(file.read_bytes().replace(content, content.swapcase()))


def test_files_that_vanish_after_the_snapshot_are_in_a_later_one(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter((3, 4, 5))
    hold = Links.hold

    def late(self: Links, file: holding.NamedFile) -> bool:
        step = next(steps, None)
        if step is not None:  # the job goes on while the first snapshots are taken
            stack.save(step)
        return hold(self, file)

    monkeypatch.setattr(Links, "hold", late)
    links = Links(stack.folder / "jobs", tmp_path / "links")
    with held_moment(stack.database, links) as moment:
        assert moment.lost == []
        assert [file.name for file in moment.files] == ["step-4.pt", "step-5.pt"]
        stack.save(6)
        stack.save(7)
        assert links.path(moment.files[0]).read_bytes() == b"state after 4"


def test_a_file_that_was_lost_before_is_named_and_stops_nothing(
    stack: Stack, tmp_path: Path
) -> None:
    stack.saved[0].unlink()
    stack.saved[1].write_bytes(b"something else")
    written = stack.back_up(tmp_path / "b")
    assert [(lost.job, lost.name) for lost in written.lost] == [(str(stack.lease.job), "step-1.pt")]
    assert [name.rpartition("/")[2] for name in written.damaged] == ["step-2.pt"]


def test_a_backup_that_fails_leaves_nothing(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "backups" / "b"
    monkeypatch.setattr(tools, "_found", lambda program: "false")
    with pytest.raises(ServiceUnavailable, match="pg_dump failed"):
        stack.back_up(target)
    assert list(target.parent.iterdir()) == []
    assert not (stack.folder / "backing-up").exists()


def test_a_backup_never_replaces_anything(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(Conflict, match="exists already"):
        stack.back_up(tmp_path / "there")
    with held(stack.folder / "backup.lock"), pytest.raises(Conflict, match="another backup"):
        stack.back_up(tmp_path / "b")


def test_jobs_that_ran_are_queued_again_and_no_attempt_or_time_is_used_up(stack: Stack) -> None:
    job = str(stack.lease.job)
    with stack.database.begin() as connection:
        connection.execute(text("update event set writer = 1::bigint << 40"))
        long_ago = "clock_timestamp() - interval '9 days'"
        connection.execute(text(f"update attempt set started_at = {long_ago}"))
        connection.execute(text(f"update job set lease_until = {long_ago} + interval '8 s'"))
    assert _seen(stack) == 0  # as if their writers had not committed
    assert settle(stack.database, [(job, "step-2.pt")]) == 1
    record = reading.get(stack.database, job)
    assert (record.state, record.attempts[0].outcome) == ("queued", "released")
    with stack.database.begin() as connection:
        ran_s = connection.execute(text("select ran_s from job")).scalar_one()
    assert ran_s == pytest.approx(8, abs=0.1)
    again = leases.claim(stack.database, "cpu", "w", 30)
    assert again is not None
    assert [checkpoint.step for checkpoint in again.resume] == [1]
    assert _seen(stack) > 3


def _seen(stack: Stack) -> int:
    return events.since_of_all(stack.database, EVERYTHING).read


@pytest.fixture
def empty(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "new", database_url=None, broker_url=None)


@pytest.fixture
def backup(stack: Stack, tmp_path: Path) -> Path:
    stack.back_up(tmp_path / "b")
    return tmp_path / "b"


def test_a_backup_of_a_newer_schema_is_refused(backup: Path, empty: Settings) -> None:
    path = backup / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "revision": "9999"}))
    with pytest.raises(InvalidSpec, match=r"revision 9999 .* the newest that this"):
        restore(backup, empty)
    assert not empty.data_dir.exists()


def test_a_restore_touches_no_data_that_are_there(backup: Path, empty: Settings) -> None:
    (empty.data_dir / "jobs" / "a-job").mkdir(parents=True)
    with pytest.raises(Conflict, match="already has the data of a stack"):
        restore(backup, empty)
    assert [path.name for path in (empty.data_dir / "jobs").iterdir()] == ["a-job"]


def test_of_two_restores_at_once_one_is_refused(
    backup: Path, empty: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(*_: object) -> None:
        inside.set()
        assert go_on.wait(30)
        raise ServiceUnavailable("the first one ends here")

    monkeypatch.setattr("service.backups.restoring._fill", slow)
    refused: list[Exception] = []
    first = threading.Thread(target=lambda: refused.append(_error(lambda: restore(backup, empty))))
    first.start()
    assert inside.wait(30)
    second = _error(lambda: restore(backup, empty))
    go_on.set()
    first.join()
    assert isinstance(second, Conflict)
    assert "another restore fills it" in str(second)
    assert [str(error) for error in refused] == ["the first one ends here"]
    assert [path.name for path in empty.data_dir.iterdir()] == ["stack.lock"]  # and can be filled


def _error(call: Callable[[], object]) -> Exception:
    with pytest.raises((Conflict, ServiceUnavailable)) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "is not a backup"), (b"x" * 2000, "is not a backup"), (None, "there is no backup")],
)
def test_what_is_no_backup_is_refused(
    tmp_path: Path, empty: Settings, content: bytes | None, problem: str
) -> None:
    source = tmp_path / "b.tar"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(InvalidSpec, match=problem):
        restore(source, empty)


def test_a_manifest_cannot_name_places_elsewhere(tmp_path: Path, empty: Settings) -> None:
    file = {"name": "jobs/../../etc/x", "sha256": "0" * 64, "bytes": 0}
    about = {"version": "1", "revision": "0001", "created_at": "2026-01-01T00:00:00Z", "jobs": {}}
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "manifest.json").write_text(json.dumps({**about, "files": [file]}))
    with pytest.raises(InvalidSpec, match=r"files\.0\.name: .* is not a place in a backup"):
        restore(tmp_path / "b", empty)


def test_a_full_disk_is_said_and_nothing_is_kept(tmp_path: Path) -> None:
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("there is no /dev/full")
    with pytest.raises(StorageFull, match="no space is left"), writing(tmp_path / "b"):
        Path("/dev/full").write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []


def test_weights_are_in_a_backup_too(stack: Stack, tmp_path: Path) -> None:
    path = stack.saved[0].with_name("weights.safetensors")
    path.write_bytes(b"w")
    sha256 = hashlib.sha256(b"w").hexdigest()
    weights = ArtifactWritten(name=path.name, path=str(path), sha256=sha256, bytes=1)
    assert reports.keep_all(stack.database, stack.lease, [weights])
    assert sha256 in {file.sha256 for file in stack.back_up(tmp_path / "b").files}


def test_a_backup_without_the_files_of_the_api_is_refused(stack: Stack, tmp_path: Path) -> None:
    Announcement(stack.database, storage="s3://lab/x").round()
    with pytest.raises(InvalidSpec, match=r"files of jobs in s3://lab/x, and here .* names none"):
        stack.back_up(tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.fixture(autouse=True)
def _no_servers_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "BROKER_URL", "DATA_DIR"):
        monkeypatch.delenv(f"NORMLAB_{name}", raising=False)
