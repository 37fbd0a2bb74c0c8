"""What job processes find in their environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.worker import job_environment


def test_jobs_on_ipus_share_a_folder_of_compiled_programs(tmp_path: Path) -> None:
    found = job_environment({"PATH": "/bin", "NORMLAB_TOKEN": "secret"}, "ipu", tmp_path)
    assert found == {"PATH": "/bin", "POPTORCH_CACHE_DIR": str(tmp_path / "executables")}


def test_the_operators_own_folder_of_programs_stays(tmp_path: Path) -> None:
    named = {"POPTORCH_CACHE_DIR": "/var/cache/poptorch"}
    assert job_environment(named, "ipu", tmp_path) == named


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_other_jobs_have_no_use_for_it(device: str, tmp_path: Path) -> None:
    assert job_environment({}, device, tmp_path) == {}
