"""Child processes of this process: they log to files, and none outlives its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from normlab.private_files import append_privately

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
LOG_KEPT_BYTES = 16 << 20
TAIL_BYTES = 2000
LONGEST_PAUSE_S = 30


class Child:
    """
    A process in its own session, so that Ctrl-C reaches it only through us.

    Args:
        name: shown to people, and the name of its log file.
        command: the command line to run.
        environment: its whole environment.
        log_dir: where its output goes, as NAME.log.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log_dir: Path
    ) -> None:
        self.name = name
        self.command = list(command)
        self.environment = dict(environment)
        self.log = log_dir / f"{name}.log"
        self.starts = 0
        self.process = self._spawn()
        self.started = time.monotonic()

    def _spawn(self) -> subprocess.Popen[bytes]:
        _keep_one_old(self.log)
        self.starts += 1
        parent = os.getpid()
        with append_privately(self.log) as out:
            return subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: _die_with(parent),
            )

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self.process.poll() is None

    @property
    def may_restart(self) -> bool:
        """Whether it has ended, and no pause is needed before a restart."""
        return not self.running and pause_is_over(self.starts, self.started)

    def restart(self) -> None:
        """Start a process that has ended again."""
        self.started = time.monotonic()  # first: a pause follows a failed start too
        self.process = self._spawn()

    def stop(self, grace_s: float) -> None:
        """Ask the process to end, wait, and kill it if it does not."""
        if self.running:
            self.process.terminate()
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the process and everything that it started in its session."""
        with contextlib.suppress(ProcessLookupError):  # it had ended already
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def tail(self) -> str:
        """Return the end of its log."""
        try:
            text = self.log.read_bytes()[-TAIL_BYTES:]
        except FileNotFoundError:
            return ""
        return text.decode(errors="replace").strip()


def pause_is_over(starts: int, started: float) -> bool:
    """Return whether a process with these starts, the last at *started*, may start again now."""
    return time.monotonic() - started > min(LONGEST_PAUSE_S, starts - 1)


def _die_with(parent: int) -> None:
    # runs between fork and exec: nothing here may allocate much or take a lock
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)


def _keep_one_old(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_KEPT_BYTES:
        log.replace(log.with_suffix(".log.old"))
