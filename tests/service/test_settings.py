from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from normlab.errors import InvalidSpec
from service.settings import Settings


def test_settings_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NORMLAB_LEASE_S", "3")
    monkeypatch.setenv("NORMLAB_HEARTBEAT_S", "0.5")
    monkeypatch.setenv("NORMLAB_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NORMLAB_DATABASE_URL", "")
    found = Settings.from_env()
    assert (found.lease_s, found.heartbeat_s, found.database_url) == (3.0, 0.5, None)
    assert (found.jobs, found.datasets) == (tmp_path / "jobs", tmp_path / "datasets")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NORMLAB_PORT", "70000"),
        ("NORMLAB_SLOTS", "zero"),
        ("NORMLAB_LEASE_S", "-1"),
        ("NORMLAB_DEVICES", "cpu,tpu"),
    ],
)
def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSpec, match=variable):
        Settings.from_env()


def test_heartbeats_that_do_not_fit_into_a_lease_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NORMLAB_LEASE_S", "5")
    monkeypatch.setenv("NORMLAB_HEARTBEAT_S", "4")
    with pytest.raises(InvalidSpec, match="at most half"):
        Settings.from_env()


def test_settings_never_change_and_never_show_the_token() -> None:
    found = Settings(token="0123456789abcdef")
    assert "0123456789abcdef" not in repr(found)
    with pytest.raises(ValidationError):
        found.port = 1


def test_the_journal_writes_one_json_object_per_line() -> None:
    code = """
import logging, structlog
from service.journal import configure
configure("info")
structlog.get_logger("here").info("claimed", job="1")
logging.getLogger("library").warning("of a library")
structlog.get_logger().debug("too quiet")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours, theirs = (json.loads(line) for line in done.stderr.splitlines())
    assert (ours["event"], ours["job"], ours["logger"]) == ("claimed", "1", "here")
    assert (theirs["event"], theirs["level"]) == ("of a library", "warning")
    assert logging.getLogger().level != logging.INFO  # this process is not affected


def test_the_code_of_jobs_sees_no_credentials_of_ours() -> None:
    given = {"PATH": "/bin", "NORMLAB_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "s"}
    given |= {"GOOGLE_APPLICATION_CREDENTIALS": "f", "AZURE_STORAGE_ACCOUNT_KEY": "k"}
    assert Settings(storage="s3://lab/x").for_code(given) == {"PATH": "/bin"}
    ours = {name for name in given if name.startswith("NORMLAB_")}
    assert set(Settings(storage="").for_code(given)) == set(given) - ours
