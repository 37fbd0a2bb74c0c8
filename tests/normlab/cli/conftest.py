"""A real stack for the commands, with the settings of the module that asks for it."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, Iterator, Tuple

import pytest

from normlab.cli.application import run
from normlab.client import Client
from normlab.stacks.connection import Connection
from normlab.stacks.own import own_stack

QUICK = {
    "NORMLAB_PORT": "0",
    "OMP_NUM_THREADS": "1",
    "NORMLAB_HEARTBEAT_S": "0.4",
    "NORMLAB_GRACE_S": "10",
    "NORMLAB_LEASE_S": "10",
    "NORMLAB_REAP_S": "0.5",
}
"""Settings of a stack that notices soon what has ended."""
Run = Callable[..., Tuple[int, str, str]]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let checks wait for a busy machine."""
    monkeypatch.setattr("normlab.cli.checkup.PATIENCE_S", 60.0)


@pytest.fixture(scope="module")
def connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A stack of this module alone; its SETTINGS are the environment."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="normlab-test-"))
        yield stack.enter_context(own_stack(Path(folder), request.module.SETTINGS))


@pytest.fixture(scope="module")
def client(connection: Connection) -> Iterator[Client]:
    """A client of that stack."""
    with Client(connection.url, connection.token) as found:
        yield found


@pytest.fixture
def cli(connection: Connection, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line against the stack; return its exit code, output and errors."""

    def call(*line: str) -> Tuple[int, str, str]:
        code = run(["--url", connection.url, "--token", str(connection.token), *line])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call
