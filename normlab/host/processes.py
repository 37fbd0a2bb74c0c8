"""Child processes that end with their parent, or that are forked after the imports were made."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import time
import traceback
from typing import Callable, Dict, Optional

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_FAILED = 70


def die_with_parent(parent: Optional[int] = None, by: signal.Signals = signal.SIGKILL) -> None:
    """
    Have the kernel (Linux) send *by* to this process when the thread that forked it ends.

    It may be called between fork and exec, so it takes no lock and allocates next to nothing.

    Args:
        parent: the parent's process id; if it has died already, this process ends at once.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, by)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


class ThreadsRun(RuntimeError):
    """This process has other threads, which may hold locks that a fork would wait for forever."""


def require_one_thread() -> None:
    """Raise ThreadsRun if this process cannot fork safely."""
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise ThreadsRun(f"process {os.getpid()} runs {threads} threads, so it cannot fork safely")


class Forks:
    """Children forked from a process that has already imported what they need."""

    def __init__(self) -> None:
        self._deadlines: Dict[int, float] = {}

    def start(self, work: Callable[[], int], within_s: float = math.inf) -> int:
        """
        Fork a child that exits with the result of *work*, or with 70 if it raises; return its id.

        Args:
            within_s: the child's time limit; the next call of `ended` after it kills the child.

        Raises:
            ThreadsRun: nothing was forked.
        """
        require_one_thread()
        pid = os.fork()
        if pid == 0:
            _work_and_leave(work)
        self._deadlines[pid] = time.monotonic() + within_s
        return pid

    def ended(self) -> Dict[int, int]:
        """Return the exit codes of newly ended children; -N means that signal N ended it."""
        codes = {}
        for pid, deadline in list(self._deadlines.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._deadlines[pid]
                codes[pid] = _code(status)
            elif time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
        return codes


def _work_and_leave(work: Callable[[], int]) -> None:
    code = _FAILED
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # skips the interpreter's clean-up, which belongs to the parent


def _code(status: int) -> int:
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
