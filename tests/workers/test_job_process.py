"""A job process, fresh or forked, from its order to its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest

from normlab.events import CheckpointWritten, Failed, Finished, Metrics, Started
from tests.processes import number_is_free
from workers.process import FreshLauncher, Launcher
from workers.warm_launcher import WarmLauncher

from .conftest import LONG, NOTHING, SHORT, NoFallback, make_order, read_to_the_end, read_until


def _gone(pid: int, timeout_s: float = 120) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if number_is_free(pid):
            return True
        time.sleep(0.01)
    return False


def _wait_until(seen: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_job_starts_trains_and_finishes(launcher: Launcher, tmp_path: Path) -> None:
    process = launcher.start(make_order(tmp_path, SHORT))
    events, log = read_to_the_end(process)
    process.close()
    assert process.poll() == 0
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert events[-1].step == 20
    batches = [e.series for e in events if isinstance(e, Metrics)]  # sorted by time, not by name
    losses = [series["train/loss"] for series in batches if "train/loss" in series]
    assert [step for part in losses for step in part.steps] == list(range(1, 21))
    version = events[0].environment["versions"]["torch"]
    assert f"training begins on cpu, torch {version}, in process " in log.decode()


def test_a_bad_order_is_a_failure_with_the_rule(launcher: Launcher, tmp_path: Path) -> None:
    process = launcher.start(make_order(tmp_path, {**SHORT, "batch_size": 60_000}))
    events, log = read_to_the_end(process)
    process.close()
    assert isinstance(events[-1], Failed)
    assert (events[-1].code, events[-1].failure_kind) == ("invalid_spec", "user")
    assert "batch_size" in events[-1].message
    assert b"Traceback" in log
    assert "Traceback" not in events[-1].message


def test_a_job_asked_to_stop_writes_a_checkpoint_and_gives_the_reason(
    launcher: Launcher, tmp_path: Path
) -> None:
    process = launcher.start(make_order(tmp_path, LONG))
    read_until(process, "progress")
    process.ask_to_stop("cancelled")
    events, _ = read_to_the_end(process)
    process.close()
    checkpoint, last = events[-2:]
    assert isinstance(checkpoint, CheckpointWritten)
    assert isinstance(last, Failed)
    assert (last.code, process.poll()) == ("job_cancelled", 0)


def test_sigterm_from_anybody_is_a_drain(launcher: Launcher, tmp_path: Path) -> None:
    process = launcher.start(make_order(tmp_path, LONG))
    read_until(process, "progress")
    os.kill(process.pid, signal.SIGTERM)
    events, _ = read_to_the_end(process)
    process.close()
    assert isinstance(events[-1], Failed)
    assert (events[-1].code, events[-1].retryable) == ("job_drained", True)


def test_a_request_to_stop_does_not_wait_for_torch_to_be_imported(
    fresh: FreshLauncher, tmp_path: Path
) -> None:
    process = fresh.start(make_order(tmp_path, LONG))
    _wait_until(
        (tmp_path / "attempt-1").is_dir
    )  # it has read its order; importing torch takes seconds
    process.ask_to_stop("drained")
    events, _ = read_to_the_end(process)
    process.close()
    assert [e.type for e in events] == ["failed"]
    assert events[-1].code == "job_drained"


def test_a_killed_job_shows_its_signal(launcher: Launcher, tmp_path: Path) -> None:
    process = launcher.start(make_order(tmp_path, LONG))
    read_until(process, "started")
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(240) == -signal.SIGKILL
    process.close()
    assert process.reader.ended


def test_closing_leaves_no_process_behind(launcher: Launcher, tmp_path: Path) -> None:
    process = launcher.start(make_order(tmp_path, LONG))
    read_until(process, "started")
    process.close()
    assert _gone(process.pid)


def test_a_job_without_enough_memory_fails_as_out_of_memory(
    launcher: Launcher, tmp_path: Path
) -> None:
    hungry = {**SHORT, "model": {"name": "convnet", "width": 4096}}
    process = launcher.start(make_order(tmp_path, hungry, memory_bytes=1 << 30))
    events, log = read_to_the_end(process)
    process.close()
    assert isinstance(events[-1], Failed), log
    assert (events[-1].failure_kind, events[-1].retryable) == ("oom", False)


def test_a_job_has_its_own_session_and_no_extra_descriptors(
    launcher: Launcher, tmp_path: Path
) -> None:
    process = launcher.start(make_order(tmp_path, LONG))
    read_until(process, "started")
    links = [
        os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd")
    ]
    session = os.getsid(process.pid)
    process.close()
    assert session == process.pid
    assert not [link for link in links if link.startswith("socket:")]


def test_two_jobs_of_one_host_end_independently(warm: WarmLauncher, tmp_path: Path) -> None:
    first = warm.start(make_order(tmp_path / "1", LONG))
    second = warm.start(make_order(tmp_path / "2", LONG))
    read_until(first, "started")
    read_until(second, "started")
    first.close()
    assert first.poll() == -signal.SIGKILL
    assert second.poll() is None
    second.close()


def test_the_jobs_of_a_dead_host_end_and_the_host_is_replaced(
    job_environment: Mapping[str, str], fresh: FreshLauncher, tmp_path: Path
) -> None:
    launcher = WarmLauncher(sys.executable, job_environment, fresh)
    assert launcher.warm_up(300)
    process = launcher.start(make_order(tmp_path, LONG))
    read_until(process, "started")
    os.kill(psutil.Process(process.pid).ppid(), signal.SIGKILL)
    assert process.wait(240) == -signal.SIGKILL
    process.close()
    assert _gone(process.pid)
    again = launcher.start(
        make_order(tmp_path / "again", NOTHING)
    )  # a fresh process, because the host is still warming up
    events, _ = read_to_the_end(again)
    again.close()
    assert isinstance(events[-1], Finished)
    assert launcher.warm_up(300)
    launcher.close()


def test_whoever_waits_for_the_host_gets_a_fork_also_after_its_death(
    job_environment: Mapping[str, str], tmp_path: Path
) -> None:
    launcher = WarmLauncher(sys.executable, job_environment, NoFallback(), patience_s=300)
    for name in ("first", "second"):
        assert launcher.await_host(threading.Event())
        process = launcher.start(make_order(tmp_path / name, LONG))
        os.kill(psutil.Process(process.pid).ppid(), signal.SIGKILL)
        assert process.wait(240) == -signal.SIGKILL
        process.close()
    launcher.close()


def test_nobody_waits_for_a_host_that_ends_before_it_is_ready(
    job_environment: Mapping[str, str], fresh: FreshLauncher, tmp_path: Path
) -> None:
    launcher = WarmLauncher("false", job_environment, fresh)
    assert [launcher.await_host(threading.Event()) for _ in range(2)] == [False, False]
    process = launcher.start(make_order(tmp_path, NOTHING))
    events, _ = read_to_the_end(process)
    process.close()
    launcher.close()
    assert isinstance(events[-1], Finished)


def test_nobody_waits_long_for_a_host_that_hangs_and_no_worker_that_leaves(
    job_environment: Mapping[str, str], fresh: FreshLauncher, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o700)
    leaving = threading.Event()
    impatient = WarmLauncher(str(python), job_environment, fresh, patience_s=0.5)
    assert not impatient.await_host(leaving)
    impatient.close()
    patient = WarmLauncher(str(python), job_environment, fresh)
    answers: list[bool] = []
    waits = threading.Thread(target=lambda: answers.append(patient.await_host(leaving)))
    waits.start()
    waits.join(0.5)
    assert waits.is_alive()
    leaving.set()
    waits.join(120)
    assert answers == [False]
    patient.close()


def test_the_host_runs_one_thread_so_that_it_may_fork(warm: WarmLauncher, tmp_path: Path) -> None:
    process = warm.start(make_order(tmp_path, NOTHING))
    host = psutil.Process(process.pid).ppid()
    threads = len(os.listdir(f"/proc/{host}/task"))
    read_to_the_end(process)
    process.close()
    assert threads == 1


_ORPHAN = """
import sys, time
from pathlib import Path
from workers.process import FreshLauncher
from workers.warm_launcher import WarmLauncher
from tests.workers.conftest import LONG, make_order, read_until
import os
launcher = fresh = FreshLauncher(sys.executable, dict(os.environ))
if sys.argv[1] == "warm":
    launcher = WarmLauncher(sys.executable, dict(os.environ), fresh)
    launcher.warm_up(300)
process = launcher.start(make_order(Path(sys.argv[2]), LONG))
read_until(process, "started")
print(process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("kind", ["fresh", "warm"])
def test_a_job_dies_with_its_supervisor(kind: str, tmp_path: Path) -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", _ORPHAN, kind, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert supervisor.stdout is not None
    job = int(supervisor.stdout.readline())
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    assert _gone(job)


def test_the_calling_thread_may_end_before_the_job(fresh: FreshLauncher, tmp_path: Path) -> None:
    started = []
    thread = threading.Thread(
        target=lambda: started.append(fresh.start(make_order(tmp_path, NOTHING)))
    )
    thread.start()
    thread.join()
    events, _ = read_to_the_end(started[0])
    started[0].close()
    assert isinstance(events[-1], Finished)
