"""A stack's plugins: described once, kept by their digest, and never run by the service."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from normlab.errors import InvalidSpec
from normlab.plugins.sources import read_source
from normlab.specs import registries
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import BY_KIND
from service.inspector import Inspector
from service.plugins import operators, store
from service.plugins.operators import OperatorPlugins
from service.settings import Settings
from service.store.database import START_S, Database
from tests.normlab.plugins.authors import BROKEN, mine, written

pytestmark = pytest.mark.usefixtures("no_plugins")


def installed(database: Database, folder: Path, *paths: Path) -> OperatorPlugins:
    given = os.pathsep.join(map(str, paths))
    settings = Settings(data_dir=folder / "data", plugins=given)
    inspector = Inspector(settings)
    found = OperatorPlugins(database, settings, inspector)
    try:
        found.install()
    finally:
        inspector.close()
    return found


def test_the_operators_plugins_are_in_force_for_every_job(
    database: Database, tmp_path: Path
) -> None:
    found = installed(database, tmp_path, written(tmp_path))
    assert [one.name for one in found.good] == ["my_norms.py"]
    assert found.troubles == []
    assert JobSpec(normalizer="dyt_of_mine").code == (mine().digest,)
    name, folder = store.written(database, mine().digest, tmp_path / "elsewhere")
    assert name == "my_norms.py"
    assert read_source(folder).digest == mine().digest


def test_the_start_waits_for_a_slow_database_as_long_as_for_the_rest_of_the_stack(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []

    class Watched(Database):
        def __init__(self, url: str, pool_size: int, *, connect_s: int) -> None:
            waits.append(connect_s)
            super().__init__(url, pool_size, connect_s=connect_s)

    monkeypatch.setattr(operators, "Database", Watched)
    assert installed(database, tmp_path, written(tmp_path)).troubles == []
    assert waits == [START_S]


def test_what_was_described_before_starts_no_process(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    installed(database, tmp_path, path)
    registries.put_in_force([])
    monkeypatch.setattr(Inspector, "describe", pytest.fail)
    assert [one.name for one in installed(database, tmp_path, path).good] == ["my_norms.py"]


def test_a_plugin_that_is_broken_or_missing_takes_no_other_down(
    database: Database, tmp_path: Path
) -> None:
    bad = tmp_path / "divides.py"
    bad.write_text(BROKEN["divides.py"][0])
    found = installed(database, tmp_path, bad, tmp_path / "none.py", written(tmp_path))
    assert [one.name for one in found.good] == ["my_norms.py"]
    reasons = {trouble.name: trouble.reason for trouble in found.troubles}
    assert "ZeroDivisionError" in reasons["divides.py"]
    assert "no such file" in reasons[str(tmp_path / "none.py")]


def test_two_plugins_cannot_declare_one_name(database: Database, tmp_path: Path) -> None:
    again = tmp_path / "again.py"
    again.write_text(written(tmp_path).read_text() + "\n# the same names\n")
    found = installed(database, tmp_path, tmp_path / "my_norms.py", again)
    assert [one.name for one in found.good] == ["my_norms.py"]
    (trouble,) = found.troubles
    assert trouble.name == "again.py"
    assert "'dyt_of_mine' is already declared by my_norms.py" in trouble.reason


def test_a_job_finds_the_code_with_which_it_was_accepted(
    database: Database, tmp_path: Path
) -> None:
    path = written(tmp_path)
    installed(database, tmp_path, path)
    accepted = JobSpec(normalizer="dyt_of_mine")
    path.write_text(path.read_text().replace("= 0.5", "= 0.25"))
    installed(database, tmp_path, path)
    assert BY_KIND["dyt_of_mine"]().alpha == 0.25
    again = JobSpec.model_validate(accepted.model_dump(mode="json"))
    assert again.fingerprint() == accepted.fingerprint()
    assert again.fingerprint() != JobSpec(normalizer="dyt_of_mine").fingerprint()


def test_code_that_nobody_kept_is_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="cannot be run"):
        store.written(database, "0" * 64, tmp_path)
