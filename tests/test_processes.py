"""The helper that reads command lines of processes."""

from __future__ import annotations

import subprocess
import sys

import psutil

from tests.processes import command_of


def test_a_process_that_has_ended_has_no_command_line() -> None:
    code = "print(); input()"
    with subprocess.Popen(
        [sys.executable, "-uc", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()  # it has started
        process = psutil.Process(child.pid)
        assert command_of(process)[1:] == ["-uc", code]
        child.kill()
        child.stdout.read()  # it has ended
        while process.status() != psutil.STATUS_ZOMBIE:
            pass
        assert command_of(process) == []
    assert command_of(process) == []
