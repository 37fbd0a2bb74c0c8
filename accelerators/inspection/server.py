"""
A warm process that answers on a Unix socket: one line of JSON in and one out per connection.

Each question is answered in a separate fork with limited time and memory, so nothing that a model
does there affects the server. The server computes only on meta tensors, which starts
no threads, so that it can fork.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

from pydantic import ValidationError

from accelerators.inspection.memory import estimate
from normlab.errors import NormlabError
from normlab.host.processes import Forks
from normlab.ipu_check.jobs import check_job, meta_model
from normlab.plugins.loading import load, use
from normlab.specs.jobs import JobSpec

MOST_BYTES = 1 << 20  # per question
ALLOWANCE_BYTES = 2 << 30  # of address space, above the server's own


class InspectionServer:
    """
    Answers until there was no question for *idle_s* seconds.

    Args:
        path: the path of the socket; its folder's permissions control access.
        answer_within_s: the time limit for one question.
        idle_s: the idle time after which it exits; None: never.
        lifeline: exit when standard input closes, which the parent process holds open.
        code: the folder of the plugins that a question names.
    """

    def __init__(
        self,
        path: Path,
        answer_within_s: float,
        idle_s: float | None,
        lifeline: bool = False,
        code: Path | None = None,
    ) -> None:
        self.path = path
        self.code = code
        self.lifeline = lifeline
        self.answer_within_s = answer_within_s
        self.idle_s = idle_s
        self._forks = Forks()

    def serve(self) -> None:
        """Listen, and answer."""
        with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
            self._listen(listener)
            selector.register(listener, selectors.EVENT_READ)
            if self.lifeline:
                selector.register(sys.stdin, selectors.EVENT_READ)
            last = time.monotonic()
            while self.idle_s is None or time.monotonic() - last < self.idle_s:
                ready = [key.fileobj for key, _ in selector.select(timeout=0.5)]
                if sys.stdin in ready:
                    return
                if listener in ready:
                    self._fork(listener.accept()[0])
                    last = time.monotonic()
                self._forks.ended()

    def _listen(self, listener: socket.socket) -> None:
        # The socket's name appears only when it accepts connections.
        unready = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        listener.bind(str(unready))
        listener.listen(16)
        unready.rename(self.path)

    def _fork(self, connection: socket.socket) -> None:
        with connection:
            self._forks.start(
                lambda: _answer(connection, self.answer_within_s, self.code), self.answer_within_s
            )


def _answer(connection: socket.socket, within_s: float, code: Path | None) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    connection.settimeout(within_s)
    question = _read_line(connection)
    _bound_memory()
    connection.sendall(json.dumps(answer(question, code)).encode() + b"\n")
    return 0


def answer(question: bytes, code: Path | None = None) -> Dict[str, Any]:
    """Return the inspection of the spec in *question*, or `{"error": reason}`."""
    try:
        use([load(code / digest, digest, digest) for digest in _digests(question)] if code else [])
        return inspect(JobSpec.model_validate_json(question))
    except (ValidationError, NormlabError) as e:
        return {"error": str(e)}
    except MemoryError:
        return {"error": "the model is too large to be looked at"}
    except (Exception, SystemExit) as e:  # torch's for shapes that do not fit, or a plugin's
        return {"error": f"the model cannot be built: {type(e).__name__}: {e}"}


def _digests(question: bytes) -> List[str]:
    return [str(digest) for digest in json.loads(question).get("code") or ()]


def inspect(spec: JobSpec) -> Dict[str, Any]:
    """Return parameters, estimated memory and the IPU's verdict, as plain values."""
    check = check_job(spec)
    return {
        "parameters": sum(p.numel() for p in meta_model(spec).parameters()),
        "memory_bytes": estimate(spec),
        "ipu_passes": check.passes,
        "ipu_message": check.message,
    }


def _read_line(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n") and len(data) < MOST_BYTES:
        part = connection.recv(1 << 16)
        if not part:
            break
        data += part
    return data


def _bound_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + ALLOWANCE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
