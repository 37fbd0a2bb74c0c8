"""A job process as its supervisor sees it: environment, start, reading, stop, exit status."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from normlab.specs.devices import DEVICES
from workers.job_order import JobOrder
from workers.reading import OutputReader

# One thread unless the order gives a number; set before a library chooses its own.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# A thread that has finished its part of an operator waits for the others. By default it spins for
# milliseconds. On busy cores, it then takes a core from the thread that it waits for.
_IDLE_THREADS = {"OMP_WAIT_POLICY": "passive"}
_HOUSE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class ChildEnds:
    """The ends of the pipes that belong to the job process."""

    stdin: int
    events: int
    log: int


class Launcher(Protocol):
    """Starts job processes."""

    def start(self, order: JobOrder) -> JobProcess:
        """Start a process that executes *order*."""


class JobProcess:
    """A running job process and the pipes to it; used by one thread."""

    def __init__(
        self, pid: int, poll: Callable[[], int | None], stdin: int, reader: OutputReader
    ) -> None:
        self.pid = pid
        self.reader = reader
        self._poll = poll
        self._stdin: int | None = stdin
        self._exit: int | None = None

    def poll(self) -> int | None:
        """Return the exit status (negative: the signal), or None while it runs."""
        if self._exit is None:
            self._exit = self._poll()
        return self._exit

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the exit status at most *timeout_s*."""
        deadline = time.monotonic() + timeout_s
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        return self.poll()

    def ask_to_stop(self, reason: str) -> None:
        """Ask the job to write a checkpoint and end; *reason* is in `job_pipes.STOP_REASONS`."""
        self._write(f"{reason}\n".encode())

    def kill(self) -> None:
        """Kill the process and everything that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Release the process: kill the rest of its group, and close the pipes."""
        self.kill()
        self.wait(timeout_s=10)
        if self._stdin is not None:
            os.close(self._stdin)
            self._stdin = None
        self.reader.join(timeout_s=10)

    def _write(self, data: bytes) -> None:
        if self._stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):  # the process has ended; its status says why
            while data:
                data = data[os.write(self._stdin, data) :]


class FreshLauncher:
    """Start a new interpreter for each job."""

    def __init__(self, python: str, environment: Mapping[str, str]) -> None:
        self._command = [python, "-u", "-m", "workers.job"]
        self._environment = {**environment, **import_path(python, environment)}

    def start(self, order: JobOrder) -> JobProcess:
        """Start the interpreter; return before it has imported torch."""

        def spawn(ends: ChildEnds) -> tuple[int, Callable[[], int | None]]:
            child = subprocess.Popen(
                self._command,
                stdin=ends.stdin,
                stdout=ends.log,
                stderr=ends.log,
                pass_fds=(ends.events,),
                env={
                    **self._environment,
                    **own_environment(order),
                    "NORMLAB_EVENTS_FD": str(ends.events),
                },
                start_new_session=True,
            )
            return child.pid, child.poll

        return launch(order.to_line(), spawn)


def launch(
    line: bytes, spawn: Callable[[ChildEnds], tuple[int, Callable[[], int | None]]]
) -> JobProcess:
    """Make the pipes, let *spawn* start the process on their far ends, and send *line*."""
    with _pipes() as (ends, (stdin, events, log)):
        pid, poll = spawn(ends)
    process = JobProcess(pid, poll, stdin, OutputReader(events, log))
    process._write(line)
    return process


@contextmanager
def _pipes() -> Iterator[tuple[ChildEnds, tuple[int, int, int]]]:
    """Open three pipes; the child's ends close on leaving, ours only if the start failed."""
    stdin_read, stdin_write = os.pipe()
    events_read, events_write = os.pipe()
    log_read, log_write = os.pipe()
    ours = (stdin_write, events_read, log_read)
    theirs = ChildEnds(stdin_read, events_write, log_write)
    try:
        yield theirs, ours
    except BaseException:
        for fd in ours:
            os.close(fd)
        raise
    finally:
        for fd in (theirs.stdin, theirs.events, theirs.log):
            os.close(fd)


def own_environment(order: JobOrder) -> dict[str, str]:
    """Set this job's threads and GPUs for libraries that read the environment at start."""
    threads = order.spec.threads or order.threads or 1
    variables = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    if order.gpus is not None:
        # In the order of nvidia-smi, so that the numbers mean the same in all processes.
        variables["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(order.gpus)
    return variables


def import_path(python: str, environment: Mapping[str, str]) -> dict[str, str]:
    """
    Return a path by which another interpreter finds this project's packages. An installed copy is
    found automatically, and one Python must not use the site-packages of another. So there is a
    path only if the packages are in a checkout.
    """
    if _HOUSE.name in ("site-packages", "dist-packages"):
        return {}
    rest = environment.get("PYTHONPATH")
    return {"PYTHONPATH": f"{_HOUSE}{os.pathsep}{rest}" if rest else str(_HOUSE)}


def job_environment(environment: Mapping[str, str], device: str, data_dir: Path) -> dict[str, str]:
    """Return the environment of a job process."""
    ours = {**_IDLE_THREADS, **without_our_settings(environment)}
    for variable, folder in DEVICES[device].caches.items():
        ours.setdefault(variable, str(data_dir.absolute() / folder))
    return ours


def without_our_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Remove secrets that a job must not see: the database's password, the tokens of services."""
    return {k: v for k, v in environment.items() if not k.startswith(("NORMLAB_", "OTEL_"))}
