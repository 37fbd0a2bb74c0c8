"""A worker in an allocation of a batch system; it is drained before the allocation ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from submitit.core.job_environment import JobEnvironment
from submitit.helpers import DelayedSubmission

from normlab.errors import ServiceUnavailable


class AllocatedWorker:
    """
    What submitit runs in an allocation: a worker, and its drain when submitit is warned.

    A batch system sends the warning to every process of the allocation. Only this process handles
    it: the worker and its jobs inherit a signal mask that blocks it, so the warning cannot kill
    them before they have drained. The object holds no settings: they come from the environment, so
    no secret is written to a file.

    Args:
        arguments: the arguments of `python -m workers`.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """
        Work until the worker ends by itself, or SIGTERM asks it to.

        Raises:
            ServiceUnavailable: it ended otherwise.
        """
        with _warning_blocked():
            self._process = subprocess.Popen([sys.executable, "-m", "workers", *self._arguments])
        _await_end(self._process)
        status = self._process.wait()
        if status:
            raise ServiceUnavailable(f"the worker ended with status {status}; see its log")

    def checkpoint(self) -> DelayedSubmission:
        """Drain the worker, and return this object again for the next allocation."""
        if self._process is not None:
            self._process.terminate()
            _await_end(self._process)
        return DelayedSubmission(AllocatedWorker(self._arguments))


def warning() -> signal.Signals:
    """Return the signal by which submitit is warned."""
    return signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]


@contextmanager
def _warning_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {warning()})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _await_end(process: subprocess.Popen[bytes]) -> None:
    """Wait without a lock, because the handler of the warning may wait inside another wait."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
