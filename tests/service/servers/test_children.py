"""Processes that belong to a launcher: logged, stopped in time, and ended with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from normlab.errors import ServiceUnavailable
from service.servers.children import Child, restart_ended
from tests.processes import number_is_free

STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""


def child(tmp_path: Path, code: str) -> Child:
    return Child("thing", [sys.executable, "-c", code], os.environ, tmp_path / "thing.log")


def until(tmp_path: Path, text: str) -> None:
    deadline = time.monotonic() + 60
    while text not in (tmp_path / "thing.log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_its_output_is_in_its_log(tmp_path: Path) -> None:
    one = child(tmp_path, "print('hello'); import sys; sys.exit('no more')")
    assert one.process.wait(60) == 1
    assert one.tail() == "hello\nno more"


def test_stopping_requests_the_end_first(tmp_path: Path) -> None:
    one = child(tmp_path, "import time; print('up', flush=True); time.sleep(60)")
    until(tmp_path, "up")
    one.stop(20)
    assert one.process.returncode == -signal.SIGTERM


def test_a_child_that_ignores_the_request_is_killed_after_the_grace(tmp_path: Path) -> None:
    one = child(tmp_path, STUBBORN)
    until(tmp_path, "deaf")
    one.stop(0.1)
    assert one.process.returncode == -signal.SIGKILL


def test_it_does_not_receive_the_terminals_ctrl_c(tmp_path: Path) -> None:
    one = child(tmp_path, "import time; time.sleep(60)")
    assert os.getsid(one.process.pid) != os.getsid(0)
    one.kill()


def test_a_restart_waits_longer_the_more_often_it_was_needed(tmp_path: Path) -> None:
    one = child(tmp_path, "pass")
    one.process.wait(60)
    assert one.may_restart
    one.restart()
    one.process.wait(60)
    one.started = time.monotonic() + 3600  # so that the pause is not over, however long this takes
    assert not one.may_restart
    one.started -= 3605
    assert one.may_restart


def test_a_program_that_is_missing_is_refused_by_its_name(tmp_path: Path) -> None:
    missing = str(tmp_path / "no-such-program")
    with pytest.raises(ServiceUnavailable, match=r"thing cannot be started with .*no-such-program"):
        Child("thing", [missing], os.environ, tmp_path / "thing.log")
    no_program = tmp_path / "thing.log"  # a file, but none that may be run
    with pytest.raises(ServiceUnavailable, match="Permission denied"):
        Child("thing", [str(no_program)], os.environ, tmp_path / "thing.log")


def test_a_process_that_ends_at_once_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    one = child(tmp_path, "import sys; sys.exit('this port is taken')")
    with pytest.raises(
        ServiceUnavailable, match=r"thing ended while starting.*\nthis port is taken"
    ):
        one.wait_until(lambda: False)


def test_a_program_that_vanished_holds_up_no_other_and_is_started_when_it_is_back(
    tmp_path: Path,
) -> None:
    program, away = tmp_path / "program", tmp_path / "away"
    program.write_text("#!/bin/sh\necho up\n")
    program.chmod(0o700)
    one = Child("vanishing", [str(program)], os.environ, tmp_path / "vanishing.log")
    other = child(tmp_path, "pass")
    for ended in (one, other):
        ended.process.wait(60)
    program.rename(away)
    assert restart_ended([one, other]) == [one, other]
    assert (one.running, other.process.wait(60), other.starts) == (False, 0, 2)
    one.started += 3600  # so that the pause is not over, however long this takes
    assert not one.may_restart  # a start that failed is followed by a pause too
    away.rename(program)
    one.started -= 3605
    assert restart_ended([one]) == [one]
    assert one.process.wait(60) == 0
    assert one.tail() == "up\nup"


def test_it_ends_with_a_killed_launcher(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; "
        "from service.servers.children import Child; "
        f"c = Child('thing', [sys.executable, '-c', 'import time; time.sleep(60)'], os.environ, "
        f"Path({str(tmp_path / 'thing.log')!r})); print(c.process.pid, flush=True); time.sleep(60)"
    )
    launcher = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    pid = int(launcher.stdout.readline())
    launcher.kill()
    launcher.wait()
    launcher.stdout.close()
    deadline = time.monotonic() + 60
    while not number_is_free(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_large_log_is_rotated_once(tmp_path: Path) -> None:
    log = tmp_path / "thing.log"
    with log.open("wb") as file:
        file.truncate((16 << 20) + 1)
    child(tmp_path, "print('new')").process.wait(60)
    assert log.read_text() == "new\n"
    assert (tmp_path / "thing.log.old").stat().st_size > 16 << 20
