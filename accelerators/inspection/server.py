"""
A warm process that answers on a Unix socket; per connection, it reads and writes one line of JSON.

Each question is answered in a separate fork with limited time and memory, so that a model cannot
affect the server. The server computes only on meta tensors, which starts no threads, so that it
can fork.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict

from pydantic import ValidationError

from accelerators.inspection.anatomy import anatomy
from accelerators.inspection.library_networks import look_at
from accelerators.inspection.memory import estimate
from accelerators.inspection.samples import sample
from normlab.errors import NormlabError
from normlab.host.processes import Forks
from normlab.ipu_check.jobs import check_job, meta_model
from normlab.plugins.describing import asked, described_here
from normlab.plugins.loading import load, use
from normlab.specs.jobs import JobSpec
from normlab.specs.models import MODELS

MOST_BYTES = 16 << 20  # per question, which may contain code
ALLOWANCE_BYTES = 2 << 30  # of address space, beyond the server's own


class InspectionServer:
    """
    Answers questions until there was none for *idle_s* seconds.

    Args:
        path: the path of the socket; its folder's permissions control access.
        answer_within_s: the time limit for one question.
        idle_s: the idle time after which it exits; with None, it never exits.
        lifeline: whether to exit when standard input closes, which the parent process holds open.
    """

    def __init__(
        self,
        path: Path,
        answer_within_s: float,
        idle_s: float | None,
        lifeline: bool = False,
    ) -> None:
        self.path = path
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
                lambda: _answer(connection, self.answer_within_s), self.answer_within_s
            )


def _answer(connection: socket.socket, within_s: float) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    connection.settimeout(within_s)
    question = _read_line(connection)
    _bound_memory()
    connection.sendall(json.dumps(answer(question)).encode() + b"\n")
    return 0


def answer(question: bytes) -> Dict[str, Any]:
    """Answer *question* about a spec or about a plugin's declarations, or return an error."""
    try:
        return _answered(json.loads(question))
    except (ValidationError, NormlabError) as e:
        return {"error": str(e)}
    except MemoryError:
        return {"error": "the model is too large to be inspected"}
    except (Exception, SystemExit) as e:  # from torch for wrong shapes, or from a plugin
        return {"error": f"the model cannot be built: {type(e).__name__}: {e}"}


def _answered(question: Dict[str, Any]) -> Dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="normlab-code-") as folder:
        if "describe" in question:
            return described_here(asked(question["describe"]), Path(folder))
        sources = map(asked, question.pop("sources", ()))
        use([load(source.written_below(Path(folder)), source.name) for source in sources])
        if "sample" in question:
            return sample(question["sample"])
        ask = anatomy if question.pop("anatomy", False) else inspect
        return ask(JobSpec.model_validate(question))


def inspect(spec: JobSpec) -> Dict[str, Any]:
    """
    Return parameters, estimated memory and the IPU check's verdict, as plain values.

    For a network of another library, also return the report on its norm layers, or only the reasons
    why the job cannot train it.
    """
    facts = MODELS.get(spec.model.name)
    of_a_library = facts is not None and facts.package is not None
    found = look_at(spec) if of_a_library else {}
    if "problems" in found:
        return found
    check = check_job(spec)
    return {
        **found,
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
