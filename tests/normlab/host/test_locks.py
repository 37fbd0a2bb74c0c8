"""Locks that are files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from normlab.errors import Conflict
from normlab.host.locks import held, is_held


def test_a_lock_that_is_held_refuses_the_next_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held(path, "it is in use"):
        assert is_held(path)
        with pytest.raises(Conflict, match="it is in use"), held(path, "it is in use"):
            pass
    assert not is_held(path)


def test_a_lock_is_released_when_its_process_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from normlab.host.locks import held\n"
        "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert is_held(tmp_path / "lock")
        holder.kill()
    with held(tmp_path / "lock", "it is in use"):
        pass


def test_without_a_file_no_lock_is_held(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "lock")
