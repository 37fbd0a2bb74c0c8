"""
Rows and files of an earlier release are brought up to date, and its jobs end.

`earlier/` was written by the code of 2026-11-26 (revision 0002): a dump of its database and the
job folders while one job ran, one had ended and two cells of a study waited, and the losses that
that code computed for all of them when it went on.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from service.backups import tools
from service.backups.manifest import BackupFile, Manifest, now
from service.backups.restoring import restore
from service.backups.settling import settle
from service.jobs import reading
from service.results import artifacts, weight_sources
from service.servers import embedded
from service.settings import Settings
from service.store.database import Database, migrate, newest_revision, revisions
from service.studies import details
from workers.warm_launcher import WarmLauncher

from .bench import Bench

EARLIER = Path(__file__).parent / "earlier"
EXPECTED: dict[str, Any] = json.loads((EARLIER / "expected.json").read_text())
JOBS: dict[str, Any] = EXPECTED["jobs"]


@pytest.fixture
def earlier_url(servers: dict[str, str]) -> Iterator[str]:
    """A database as the earlier release left it."""
    name = f"earlier_{uuid4().hex}"
    maintenance = servers["database_url"].replace("/normlab?", "/postgres?")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"create database {name}")
        url = servers["database_url"].replace("/normlab?", f"/{name}?")
        tools.load(url, EARLIER / "database.dump")
        yield url
        connection.execute(f"drop database {name} with (force)")


def test_jobs_of_an_earlier_release_end_with_the_numbers_of_that_release(
    earlier_url: str, tmp_path: Path, warm: WarmLauncher
) -> None:
    migrate(earlier_url)
    shutil.copytree(EARLIER / "jobs", tmp_path / "jobs")
    with Database(earlier_url) as database:
        assert len(set(revisions(database))) == 1
        assert settle(database) == 1
        bench = Bench(database, tmp_path, warm, lease_s=60)
        for _ in range(3):
            bench.work()
        for name, earlier in JOBS.items():
            record = bench.job(earlier["job"])
            assert record.state == "succeeded", (name, record)
            assert bench.losses(earlier["job"])[1] == pytest.approx(earlier["losses"], rel=1e-3)
        assert bench.job(JOBS["torn"]["job"]).attempts[1].resumed_from_step == 30
        assert details.get(database, EXPECTED["study"]).state == "complete"
        _has_its_weights(database, JOBS["ended"]["job"], tmp_path / "jobs")


def test_a_backup_of_an_earlier_release_is_restored_in_todays_schema(
    tmp_path: Path, open_folder: Path
) -> None:
    source, settings = tmp_path / "backup", Settings(data_dir=open_folder / "new")
    shutil.copytree(EARLIER, source)
    (source / "expected.json").unlink()
    files = [_as_file(path, source) for path in sorted(source.rglob("*")) if path.is_file()]
    manifest = Manifest(version="0.0.1", revision="0002", created_at=now(), jobs={}, files=files)
    (source / "manifest.json").write_text(manifest.model_dump_json())
    restore(source, settings)
    servers = embedded.start(settings.model_copy(update={"broker_url": "memory://"}))
    try:
        with Database(servers.database_url, pool_size=1) as database:
            assert set(revisions(database)) == {newest_revision()}
            states = {name: reading.get(database, one["job"]).state
                      for name, one in JOBS.items()}  # fmt: skip
    finally:
        servers.stop()
    assert states == {**dict.fromkeys(JOBS, "queued"), "ended": "succeeded"}
    assert {str(p.relative_to(settings.data_dir)) for p in (settings.data_dir / "jobs").rglob("*.*")
            if p.is_file()} == {file.name for file in files} - {"database.dump"}  # fmt: skip


def _as_file(path: Path, folder: Path) -> BackupFile:
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    return BackupFile(name=str(path.relative_to(folder)), sha256=sha256, bytes=len(content))


def _has_its_weights(database: Database, job: str, jobs: Path) -> None:
    stored = weight_sources.of_job(database, job)
    assert hashlib.sha256((jobs / stored.place).read_bytes()).hexdigest() == stored.sha256
    assert artifacts.stored(database, job, "weights.safetensors") == stored
