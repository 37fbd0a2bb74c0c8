"""Real workers whose jobs find different packages: each job goes to one that can load its code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from normlab.plugins.loading import load, use
from service.plugins import store
from service.store.database import Database
from tests.normlab.plugins.authors import MY_NORMS, source

from .conftest import NOTHING
from .floor import Floor

pytestmark = pytest.mark.usefixtures("no_plugins")
PACKAGE = "house_package"
IMPORTS = f"import {PACKAGE}\n{MY_NORMS}"
NEEDS = IMPORTS.replace("batch_independent=True)", f"needs=('{PACKAGE}>=2',))")
POLL = {"NORMLAB_POLL_S": 0.2}
JOB = {**NOTHING, "normalizer": "power_of_mine"}


@pytest.fixture
def with_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The settings of a worker whose jobs find the package, which this process has too."""
    folder = tmp_path / "packages"
    (folder / f"{PACKAGE}-2.1.dist-info").mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 2.1\n"
    (folder / f"{PACKAGE}-2.1.dist-info" / "METADATA").write_text(metadata)
    (folder / f"{PACKAGE}.py").write_text("")
    monkeypatch.syspath_prepend(str(folder))
    return {**POLL, "PYTHONPATH": str(folder)}


def keep(database: Database, text: str, folder: Path) -> str:
    """Keep a plugin as if it had been described; return its digest."""
    plugin = source("house.py", text)
    described = load(plugin.written_below(folder / "described"), plugin.name)
    with database.begin() as connection:
        store.keep(connection, plugin, described, owner="me", origin={})
    use([described])
    return plugin.digest


def test_a_job_waits_for_a_worker_with_the_packages_that_its_code_needs(
    floor: Floor, tmp_path: Path, with_package: dict[str, Any]
) -> None:
    keep(floor.database, NEEDS, tmp_path)
    floor.hire(**POLL)
    job = floor.submit(JOB)
    floor.until(lambda: "not installed" in str(floor.job(job).waiting_for))
    assert floor.job(job).waiting_for == (
        "a worker for cpu that can load its code; no live one can "
        "(house.py: house-package>=2 is not installed)"
    )
    floor.until_state(floor.submit(NOTHING), "succeeded")
    assert floor.job(job).attempt == 0
    able = floor.hire(**with_package)
    found = floor.until_state(job, "succeeded")
    assert [f"-{able.pid}-" in attempt.worker for attempt in found.attempts] == [True]


def test_a_job_whose_process_lacks_a_package_is_left_to_another_worker(
    floor: Floor, tmp_path: Path, with_package: dict[str, Any]
) -> None:
    keep(floor.database, IMPORTS, tmp_path)
    floor.hire(**POLL)
    job = floor.submit(JOB, max_attempts=1)
    floor.until(lambda: "No module named 'house_package'" in str(floor.job(job).waiting_for))
    assert [attempt.outcome for attempt in floor.job(job).attempts] == ["released"]
    floor.hire(**with_package)
    found = floor.until_state(job, "succeeded")
    assert [attempt.outcome for attempt in found.attempts] == ["released", "succeeded"]


def test_workers_try_the_operators_plugins_before_a_job_needs_them(
    floor: Floor, tmp_path: Path, with_package: dict[str, Any]
) -> None:
    digest = keep(floor.database, IMPORTS, tmp_path)
    with floor.database.begin() as connection:
        store.put_in_force(connection, [digest])
    floor.hire(**POLL)
    worker = floor.until_live(lambda worker: bool(worker.cannot_load))
    assert worker.cannot_load == {
        "house.py": "ModuleNotFoundError: No module named 'house_package'"
    }
    job = floor.submit(JOB)
    assert "No module named" in str(floor.job(job).waiting_for)
    floor.until_state(floor.submit(NOTHING), "succeeded")
    assert floor.job(job).attempt == 0


def test_a_job_python_of_3_8_says_which_code_is_too_new_for_it(
    floor: Floor, tmp_path: Path
) -> None:
    python = Path(__file__).parents[2] / ".venv-py38/bin/python"
    if not python.exists():
        pytest.skip("there is no Python 3.8 with torch here; tests/py38/run makes one")
    digest = keep(floor.database, f"{MY_NORMS}\nmatch 1:\n    case 1: pass\n", tmp_path)
    with floor.database.begin() as connection:
        store.put_in_force(connection, [digest])
    floor.hire(**POLL, NORMLAB_JOB_PYTHON_CPU=python)
    worker = floor.until_live(lambda worker: bool(worker.cannot_load))
    assert "SyntaxError" in worker.cannot_load["house.py"]


def test_a_network_waits_for_a_worker_whose_jobs_find_its_library(
    floor: Floor, tmp_path: Path
) -> None:
    folder = tmp_path / "packages" / "timm-9.9.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: timm\nVersion: 9.9\n")
    floor.hire(**POLL)
    job = floor.submit({**NOTHING, "model": {"name": "timm/resnet18"}})
    floor.until(lambda: "timm is not installed" in str(floor.job(job).waiting_for))
    floor.until_state(floor.submit(NOTHING), "succeeded")
    assert floor.job(job).attempt == 0
    able = floor.hire(**POLL, PYTHONPATH=str(folder.parent))
    found = floor.until_state(job, "succeeded")
    assert [f"-{able.pid}-" in attempt.worker for attempt in found.attempts] == [True]
