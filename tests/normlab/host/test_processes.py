"""Forks of a warm process, in a separate interpreter, because that of a test runs threads."""

from __future__ import annotations

import subprocess
import sys

PRELUDE = """
import os, signal, threading, time
from normlab.host.processes import Forks, ThreadsRun
forks = Forks()
def wait(pid):
    while True:
        for ended, code in forks.ended().items():
            assert ended == pid
            return code
        time.sleep(0.01)
"""


def said(code: str) -> str:
    command = [sys.executable, "-c", PRELUDE + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return done.stdout.strip()


def test_a_fork_exits_with_what_its_work_returns() -> None:
    assert said("print(wait(forks.start(lambda: 7)))") == "7"


def test_a_fork_whose_work_raises_does_not_continue_as_its_parent() -> None:
    assert said("print(wait(forks.start(lambda: 1 // 0)))") == "70"


def test_a_fork_that_takes_too_long_is_killed() -> None:
    code = "print(wait(forks.start(lambda: time.sleep(60), within_s=0.1)) == -signal.SIGKILL)"
    assert said(code) == "True"


def test_a_process_with_threads_refuses_to_fork() -> None:
    code = """
threading.Thread(target=time.sleep, args=(1,)).start()
try:
    forks.start(lambda: 0)
except ThreadsRun as e:
    print(e)
"""
    assert "runs 2 threads, so it cannot fork safely" in said(code)
