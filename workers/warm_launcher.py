"""Start job processes through a warm host, or without it if it is not available."""

from __future__ import annotations

import array
import contextlib
import json
import logging
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Event as Flag

from workers.job_order import JobOrder
from workers.process import ChildEnds, JobProcess, Launcher, import_path, launch, own_environment

_ANSWER_TIMEOUT_S = 10.0
_LOOK_S = 0.2
_log = logging.getLogger(__name__)


class HostUnavailable(Exception):
    """The warm host is not ready, has ended, or refused to fork."""


class WarmLauncher:
    """
    Fork jobs from a process that has imported torch.

    Args:
        python: the interpreter of jobs.
        fallback: starts the jobs that cannot be forked.
        patience_s: the longest wait for the imports of a host.
    """

    def __init__(
        self,
        python: str,
        environment: Mapping[str, str],
        fallback: Launcher,
        patience_s: float = 60.0,
    ) -> None:
        self._python = python
        self._environment = {
            **environment,
            **import_path(python, environment),
            # A library that starts threads when it is imported would make forking unsafe.
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._fallback = fallback
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._host: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ready = False
        self._started_at = 0.0

    def warm_up(self, timeout_s: float = 0.0) -> bool:
        """Start the host if none runs; wait at most *timeout_s*; return whether it is ready."""
        with self._lock:
            self._ensure_started()
            return self._is_ready(timeout_s)

    def await_host(self, leaving: Flag) -> bool:
        """
        Wait until the host can fork, which takes no longer than the imports of a new interpreter.

        Returns False without waiting if it ended early, takes unusually long, or this worker is
        *leaving*.
        """
        while True:
            with self._lock:
                if leaving.is_set() or not self._may_come():
                    return False
                if self._is_ready(_LOOK_S):
                    return True

    def start(self, order: JobOrder) -> JobProcess:
        """Start *order* in a fork of the host, or else in a new interpreter."""
        environment = own_environment(order)

        def fork(ends: ChildEnds) -> tuple[int, Callable[[], int | None]]:
            return self._fork("workers.job", [], environment, ends)

        try:
            return launch(order.to_line(), fork)
        except (HostUnavailable, OSError) as e:
            _log.info("job %s starts without the warm host: %s", order.job, e)
            return self._fallback.start(order)

    def output_of(self, module: str, arguments: Sequence[str], timeout_s: float) -> bytes:
        """
        Return what *module* prints in a fork of the host.

        Raises:
            HostUnavailable: there is no host, or *module* failed, or took longer than *timeout_s*.
        """
        process = launch(b"", lambda ends: self._fork(module, arguments, {}, ends))
        try:
            status = process.wait(timeout_s)
        finally:
            process.close()
        if status != 0:
            raise HostUnavailable(f"{module} in a fork of it ended with {status}")
        return process.reader.take().log

    def close(self) -> None:
        """Stop the host; jobs that it forked end with it."""
        with self._lock:
            self._drop()

    def _fork(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        ends: ChildEnds,
    ) -> tuple[int, Callable[[], int | None]]:
        ours, theirs = socket.socketpair()
        ours.settimeout(_ANSWER_TIMEOUT_S)
        with theirs, self._lock:
            self._ensure_started()
            if not self._is_ready(0.0):
                ours.close()
                raise HostUnavailable("it is still importing torch")
            fds = array.array("i", [ends.stdin, ends.events, ends.log, theirs.fileno()])
            task = {"module": module, "arguments": arguments, "environment": environment}
            message = json.dumps(task).encode()
            assert self._control is not None
            try:
                self._control.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
            except OSError:
                self._drop()
                ours.close()
                raise
        answers = _HostReports(ours)
        pid = answers.pid()
        return pid, answers.exit_status

    def _ensure_started(self) -> None:
        if self._host is not None and self._host.poll() is None:
            return
        self._drop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._host = subprocess.Popen(
                [self._python, "-u", "-m", "workers.warm_host"],
                stdin=theirs.fileno(),
                env=self._environment,
                start_new_session=True,
            )
        self._control = ours
        self._started_at = time.monotonic()

    def _may_come(self) -> bool:
        """Return whether the host runs or is starting; restart one that was ready and ended."""
        if self._host is None or (self._ready and self._host.poll() is not None):
            with contextlib.suppress(OSError):  # the jobs will report why nothing can be started
                self._ensure_started()
        late = time.monotonic() > self._started_at + self._patience_s
        alive = self._host is not None and self._host.poll() is None
        return alive and (self._ready or not late)

    def _is_ready(self, timeout_s: float) -> bool:
        if not self._ready and self._control is not None:
            self._control.settimeout(timeout_s)
            with contextlib.suppress(BlockingIOError, TimeoutError, OSError):
                self._ready = bool(self._control.recv(1 << 12))
            self._control.settimeout(_ANSWER_TIMEOUT_S)
        return self._ready

    def _drop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._host is not None:
            self._host.kill()
            self._host.wait()
        self._host = self._control = None
        self._ready = False


class _HostReports:
    """The host's reports about one child; if they stop, both have ended."""

    def __init__(self, reply: socket.socket) -> None:
        self._reply = reply
        self._text = b""

    def pid(self) -> int:
        try:
            return self._pid()
        except BaseException:
            self._reply.close()
            raise

    def _pid(self) -> int:
        while b"\n" not in self._text:
            data = self._reply.recv(1 << 12)
            if not data:
                raise HostUnavailable("it ended before it answered")
            self._text += data
        line, self._text = self._text.split(b"\n", 1)
        answer = json.loads(line)
        if "pid" not in answer:
            raise HostUnavailable(answer["error"])
        self._reply.setblocking(False)
        return int(answer["pid"])

    def exit_status(self) -> int | None:
        try:
            data = self._reply.recv(1 << 12)
        except BlockingIOError:
            return None
        self._text += data
        if data and b"\n" not in self._text:
            return None
        self._reply.close()
        # The kernel kills the children when their host dies.
        return int(json.loads(self._text)["exit"]) if data else -signal.SIGKILL
