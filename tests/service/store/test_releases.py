"""Workers of another release take no jobs, and every view gives the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from normlab import __version__
from normlab.errors import ServiceUnavailable
from service import doctor
from service.jobs import leases, reading, workers
from service.settings import Settings
from service.store.database import Database, newest_revision
from service.store.releases import Announcement, refusal, served
from tests.service.work import claim, submit
from workers.slots import Bell
from workers.worker import Worker

SCHEMA = newest_revision()


def _beat(database: Database, version: str | None, revision: str | None = SCHEMA) -> None:
    workers.beat(
        database,
        worker="worker-1",
        device="cpu",
        hostname="h",
        slots=1,
        busy=0,
        description="a CPU",
        memory_bytes=None,
        versions={},
        version=version,
        revision=revision,
    )


@pytest.mark.parametrize(
    ("version", "revision", "api", "taken"),
    [
        ("1.2.3", SCHEMA, "1.2.9", True),
        ("1.2.3", SCHEMA, None, True),
        ("1.2.3", SCHEMA, "1.3.0", False),
        ("1.2.3", SCHEMA, "2.2.3", False),
        ("1.10.0", SCHEMA, "1.1.0", False),
        ("1.2.3", "0001", "1.2.3", False),
        ("1.2.3", None, None, False),
        (None, None, "1.2.3", False),
    ],
)
def test_a_claim_needs_the_schema_and_the_minor_version_of_the_stack(
    database: Database, version: str | None, revision: str | None, api: str | None, taken: bool
) -> None:
    if api is not None:
        Announcement(database, api).round()
    _beat(database, version, revision)
    reason = refusal(version, revision, served(database))
    (seen,) = workers.live(database)
    assert (reason is None, seen.able) == (taken, taken)
    job = submit(database)
    if taken:
        assert str(claim(database).job) == job.id
        return
    assert seen.why == reason
    with pytest.raises(ServiceUnavailable, match="may take no jobs of normlab"):
        claim(database)
    assert reading.get(database, job.id).attempt == 0  # the whole claim is rolled back
    assert "1 of them take no jobs" in workers.devices(database)[0].reason


def test_an_api_whose_schema_is_not_the_databases_announces_nothing(database: Database) -> None:
    announcement = Announcement(database, "9.9.9")
    with database.begin() as connection:
        connection.execute(text("update alembic_version set version_num = '9999'"))
    assert announcement.round() == 0
    with database.begin() as connection:
        connection.execute(text("update alembic_version set version_num = :r"), {"r": SCHEMA})
    assert (announcement.round(), announcement.round()) == (1, 0)
    assert served(database) == (SCHEMA, "9.9.9")


def test_a_refused_worker_says_why_in_its_log_and_asks_for_nothing(
    database: Database, tmp_path: Path
) -> None:
    Announcement(database, "9.9.9").round()
    submit(database)
    bell = Bell()
    settings = Settings(data_dir=tmp_path, warm_host=False)
    worker = Worker(settings, database.conninfo, "cpu", 1, bell, {})
    with capture_logs() as told:
        worker._beat()
        worker._beat()
        assert worker._claim(None) is None
    (refused,) = [line for line in told if line["event"] == "worker_refused"]
    assert (
        f"it has normlab {__version__} (schema {SCHEMA}), and the stack has 9.9.9"
        in (refused["reason"])
    )
    Announcement(database).round()
    rings = bell.rings
    worker._beat()
    assert bell.rings == rings + 1
    assert isinstance(worker._claim(None), leases.Lease)
    worker._database.close()


def test_the_doctor_of_a_host_says_that_its_workers_are_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Announcement(database, "9.9.9").round()
    monkeypatch.setattr(doctor, "_job_python", lambda s: doctor.Check("job python", "ok", ""))
    settings = Settings(data_dir=tmp_path, database_url=database.conninfo, broker_url="memory://")
    (found,) = [f for f in doctor.examine(settings) if f.check == "release"]
    assert found.verdict == "bad"
    assert "install normlab 9.9.9 here" in found.mend


@pytest.mark.parametrize("there", ["", "s3://lab/a"])
def test_a_worker_that_keeps_files_elsewhere_takes_no_jobs_until_the_api_agrees(
    database: Database, tmp_path: Path, there: str
) -> None:
    Announcement(database, storage=there).round()
    submit(database)
    settings = Settings(data_dir=tmp_path, storage="s3://lab/b", warm_host=False)
    worker = Worker(settings, database.conninfo, "cpu", 1, Bell(), {})
    with capture_logs() as logs:
        worker._beat()
        assert worker._claim(None) is None
    (said,) = [line["reason"] for line in logs if line["event"] == "worker_refused"]
    assert "files of jobs in s3://lab/b, and the API in" in said
    assert (there or "a folder") in said
    Announcement(database, storage="s3://lab/b").round()
    worker._beat()
    assert isinstance(worker._claim(None), leases.Lease)
    worker._database.close()
