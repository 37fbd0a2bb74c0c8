"""Every benchmark says what it measures, and refuses an invalid number of rounds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import benchmarks.command
from benchmarks.__main__ import BENCHMARKS
from benchmarks.command import as_measured

ROOM = Path(benchmarks.command.__file__).parent
COMMANDS = sorted(p.stem for p in ROOM.glob("*.py") if '__name__ == "__main__"' in p.read_text())
# parts of api_peer and packs, which start them
SERVED = {"ingest_server", "hfta_script"}


def run(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    module = "benchmarks" if name == "__main__" else f"benchmarks.{name}"
    command = [sys.executable, "-m", module, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - SERVED))
def test_help_says_what_is_measured(name: str) -> None:
    shown = run(name, "--help")
    assert shown.returncode == 0, shown.stderr
    assert f"usage: {name}.py" in shown.stdout
    assert len(shown.stdout.split("\n\n")[1]) > 30


@pytest.mark.parametrize("rounds", ["0", "-1", "two"])
def test_a_number_of_rounds_that_is_none_is_refused(rounds: str) -> None:
    refused = run("reporting", "--rounds", rounds)
    assert refused.returncode == 2
    assert f"{rounds!r}: not a whole number from 1" in refused.stderr


def test_all_of_make_bench_take_rounds() -> None:
    assert all("rounds" in (ROOM / f"{name}.py").read_text() for name in BENCHMARKS)


def test_each_row_is_told_as_soon_as_it_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"kind": "batch", "ms": 0.123456}, {"kind": "group"}]
    told = []

    def measured() -> Iterator[dict[str, Any]]:
        for row in rows:
            yield row
            told.append(capsys.readouterr().err)

    assert as_measured(measured()) == rows
    assert told == ["kind batch, ms 0.1235\n", "kind group\n"]
