"""The short form of the fault drill: every kind of fault once."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from tests.drill.__main__ import run
from tests.drill.faults import faults_of
from tests.drill.verdict import show


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_fault_loses_a_job_or_runs_it_twice(tmp_path: Path) -> None:
    console = Console(width=160)
    verdict = run(
        tmp_path, seed=7, faults=len(faults_of(bucket=False)), notice_s=20, console=console
    )
    show(verdict, console)
    assert verdict.passed
