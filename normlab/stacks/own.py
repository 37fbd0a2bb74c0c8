"""A separate stack as a child of this process; it stops together with the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Iterator, List, Mapping

from normlab.errors import InvalidSpec, ServiceUnavailable
from normlab.host.private_files import append_privately
from normlab.stacks.connection import Connection, read_connection

MODULE = "service.up"
NEEDED = ("service", "fastapi", "celery", "sqlalchemy", "torch")
READY_WITHIN_S = 240.0  # longer than the stack itself waits, which knows the reason
STOPPED_WITHIN_S = 60.0


def require_server() -> None:
    """Raise InvalidSpec if this installation has only the client."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InvalidSpec(
            f"a stack needs {', '.join(missing)}, which this Python ({sys.executable}) lacks; "
            "pip install 'normlab[train,server,local]'"
        )


def command() -> List[str]:
    """Return the command that runs a stack in the foreground."""
    return [sys.executable, "-m", MODULE]


@contextmanager
def own_stack(data_dir: Path, settings: Mapping[str, str]) -> Iterator[Connection]:
    """
    Run a stack on *data_dir* while the context is open; SIGTERM ends it as Ctrl-C does.

    Args:
        data_dir: the folder for its databases, jobs and logs.
        settings: additional environment variables for it.
    """
    require_server()
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = data_dir / "stack.log"
    environment = {**os.environ, **settings, "NORMLAB_DATA_DIR": str(data_dir)}
    with _sigterm_as_ctrl_c():
        with append_privately(log) as out:  # the stack prints its token there
            # its own session: Ctrl-C reaches only this command, which then stops the stack in order
            begins = out.seek(0, os.SEEK_END)  # the output of earlier stacks is before it
            process = subprocess.Popen(
                command(), env=environment, stdout=out, stderr=out, start_new_session=True
            )
        try:
            yield _wait(process, data_dir, log, begins)
        finally:
            _stop(process)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # another thread: signals do not concern it
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait(process: subprocess.Popen[bytes], data_dir: Path, log: Path, begins: int) -> Connection:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            text = log.read_bytes()[begins:].decode(errors="replace").strip()
            raise ServiceUnavailable(f"the stack did not start: {text[-2000:]}")
        found = read_connection(data_dir)
        if found is not None:
            return found
        time.sleep(0.05)
    raise ServiceUnavailable(f"the stack is not ready after {READY_WITHIN_S:g} s; see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # the second one ends its children at once
        process.wait(STOPPED_WITHIN_S)
