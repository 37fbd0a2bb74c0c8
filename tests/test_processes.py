"""The helpers that ask about processes."""

from __future__ import annotations

import subprocess
import sys

import psutil

from tests.processes import all_end, command_of, has_ended, number_is_free


def test_a_process_that_has_ended_has_no_command_line_and_does_not_run() -> None:
    code = "print(); input()"
    with subprocess.Popen(
        [sys.executable, "-uc", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()  # it has started
        process = psutil.Process(child.pid)
        assert command_of(process)[1:] == ["-uc", code]
        assert not all_end([process], within_s=0)
        child.kill()
        child.stdout.read()  # it has ended
        assert all_end([process])
        assert process.status() == psutil.STATUS_ZOMBIE
        assert command_of(process) == []
        assert number_is_free(child.pid)
    assert command_of(process) == []
    assert has_ended(process)
    assert number_is_free(child.pid)
