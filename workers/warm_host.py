"""
A process that has imported torch and only forks: one child per job, and one for the probe.

Standard input is a socket with message boundaries (SEQPACKET). A message names a module with its
arguments and environment, as JSON, and carries four file descriptors: the child's standard input,
its event pipe, its log, and a socket on which the host answers `{"pid": ...}` and, once the child
has ended, `{"exit": ...}`.
The host runs no torch operator, because its threads would be missing in every child.
Runs on Python 3.8, on Linux.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
from types import FrameType
from typing import Dict, List, Optional, Sequence, Tuple

from normlab.host.processes import Forks, ThreadsRun, die_with_parent
from normlab.host.provenance import provenance

DESCRIPTORS = 4
_MESSAGE_BYTES = 1 << 16
# The imports of jobs. An installation may lack some; none of them may start a thread.
_PRELOADED = (
    "torch",
    "torch._dynamo",  # torch.optim imports it when the first optimizer is made
    "torch._inductor",  # choosing deterministic operators imports it too
    "numpy",
    "workers.job",
    "workers.probe",
    "normlab.training.loop",
    "normlab.nets",
    "normlab.data",
    "normlab.norms",
    "accelerators.cpu",
)


class WarmHost:
    """Fork children on request, and report how each ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._forks = Forks()
        self._replies: Dict[int, socket.socket] = {}
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def serve(self) -> None:
        """Serve until the supervisor's end of the socket closes."""
        signal.signal(signal.SIGCHLD, _ignore_in_python)
        signal.set_wakeup_fd(self._wake_write)
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fd == self._wake_read:
                        self._report_ended()
                    elif not self._answer():
                        return

    def _answer(self) -> bool:
        message, descriptors = _receive(self._control)
        if not message:
            return False
        stdin, events, log, reply = descriptors
        answer = socket.socket(fileno=reply)
        try:
            pid = self._forks.start(lambda: self._work(message, (stdin, events, log), answer))
        except ThreadsRun as e:
            _say(answer, {"error": str(e)})
            answer.close()
        else:
            self._replies[pid] = answer
            _say(answer, {"pid": pid})
        for fd in (stdin, events, log):
            os.close(fd)
        return True

    def _report_ended(self) -> None:
        while _drained(self._wake_read):
            pass
        for pid, code in self._forks.ended().items():
            answer = self._replies.pop(pid)
            _say(answer, {"exit": code})
            answer.close()

    def _work(self, message: bytes, fds: Sequence[int], answer: socket.socket) -> int:
        """Turn this fresh child into the process that *message* describes."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        die_with_parent()  # the child follows its supervisor by its lifeline
        for mine in (self._control, answer, *self._replies.values()):
            mine.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        _take_over(fds)
        task = json.loads(message)
        os.environ.update(task["environment"], NORMLAB_EVENTS_FD="3")
        sys.argv[1:] = task["arguments"]
        result: int = importlib.import_module(task["module"]).main()
        return result


def main() -> int:
    """Import the modules that jobs need, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=os.dup(0))
    _preload(_PRELOADED)
    provenance()  # read once, for all of its forks
    gc.collect()
    gc.freeze()  # the children share these pages as long as no reference counts change
    control.send(json.dumps({"ready": os.getpid()}).encode())
    WarmHost(control).serve()
    return 0


def _preload(names: Sequence[str]) -> None:
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as e:
            print(f"the warm host does without {name}: {e}", file=sys.stderr, flush=True)


def _take_over(fds: Sequence[int]) -> None:
    """Make *fds* (stdin, events, log) the descriptors 0, 3, and 1 with 2."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in fds]  # away from the target numbers
    for source, target in zip((high[0], high[2], high[2], high[1]), (0, 1, 2, 3)):
        os.dup2(source, target, inheritable=target < 3)
    os.closerange(4, max(high) + 1)


def _receive(control: socket.socket) -> Tuple[bytes, List[int]]:
    fds = array.array("i")
    message, ancillary, _flags, _address = control.recvmsg(
        _MESSAGE_BYTES, socket.CMSG_SPACE(DESCRIPTORS * fds.itemsize)
    )
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return message, list(fds)


def _say(answer: socket.socket, message: Dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # the supervisor is gone, and its child dies with it
        answer.sendall(json.dumps(message).encode() + b"\n")


def _drained(fd: int) -> bool:
    try:
        return bool(os.read(fd, 512))
    except BlockingIOError:
        return False


def _ignore_in_python(_signal: int, _frame: Optional[FrameType]) -> None:
    """Do nothing: SIGCHLD needs a handler so that the wake-up descriptor is written."""


if __name__ == "__main__":
    sys.exit(main())
