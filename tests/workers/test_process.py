"""The environment of job processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.process import job_environment

PASSIVE = {"OMP_WAIT_POLICY": "passive"}


def test_jobs_on_ipus_share_a_folder_of_compiled_programs(tmp_path: Path) -> None:
    found = job_environment({"PATH": "/bin", "NORMLAB_TOKEN": "secret"}, "ipu", tmp_path)
    programs = str(tmp_path / "executables")
    assert found == {**PASSIVE, "PATH": "/bin", "POPTORCH_CACHE_DIR": programs}


def test_the_operators_own_folder_of_programs_is_kept(tmp_path: Path) -> None:
    named = {"POPTORCH_CACHE_DIR": "/var/cache/poptorch"}
    assert job_environment(named, "ipu", tmp_path) == {**PASSIVE, **named}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_other_jobs_do_not_get_the_folder(device: str, tmp_path: Path) -> None:
    assert job_environment({}, device, tmp_path) == PASSIVE


def test_threads_that_wait_leave_their_core_to_others(tmp_path: Path) -> None:
    assert job_environment({}, "cpu", tmp_path) == PASSIVE


def test_the_operators_own_wait_policy_is_kept(tmp_path: Path) -> None:
    given = {"OMP_WAIT_POLICY": "active"}
    assert job_environment(given, "cpu", tmp_path)["OMP_WAIT_POLICY"] == "active"
