"""Child processes: they end with their parent, or are forked from a process with imports."""

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
    Have the kernel send *by* to this process when the thread that forked it ends (Linux).

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
    """This process has other threads, whose locks a fork would need but never get."""


def require_one_thread() -> None:
    """Raise ThreadsRun if this process cannot fork safely."""
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise ThreadsRun(f"process {os.getpid()} runs {threads} threads, so it cannot fork safely")


class Forks:
    """Forked children of a process that only has the imports that they need."""

    def __init__(self) -> None:
        self._deadlines: Dict[int, float] = {}

    def start(self, work: Callable[[], int], within_s: float = math.inf) -> int:
        """
        Fork a child that exits with what *work* returns, and 70 if it raises; return its id.

        Args:
            within_s: after this time the child is killed, at the next call of `ended`.

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
        os._exit(code)  # without the clean-up of the interpreter, which is for the parent to do


def _code(status: int) -> int:
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
