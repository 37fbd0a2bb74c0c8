"""One real stack for the tests of this folder, and jobs that it has trained."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from normlab.cli.application import run
from normlab.client import Client
from normlab.records import JobDetail
from normlab.stacks.connection import Connection
from normlab.stacks.own import own_stack

Cli = Callable[..., "tuple[int, str, str]"]
SETTINGS = {"NORMLAB_PORT": "0", "NORMLAB_SLOTS": "2", "OMP_NUM_THREADS": "1"}
SMALL: dict[str, Any] = {
    "model": {"name": "preresnet8", "width": 4},
    "dataset": {"name": "digits", "train_size": 96, "test_size": 150},
    "batch_size": 8,
    "epochs": 1,
}


@pytest.fixture(scope="package")
def folder() -> Iterator[Path]:
    """The data folder of the stack."""
    with tempfile.TemporaryDirectory(prefix="normlab-test-") as name:
        yield Path(name)


@pytest.fixture(scope="package")
def connection(folder: Path) -> Iterator[Connection]:
    """The stack of this folder's tests."""
    with ExitStack() as stack:
        yield stack.enter_context(own_stack(folder, SETTINGS))


@pytest.fixture(scope="package")
def client(connection: Connection) -> Iterator[Client]:
    """A client of the stack."""
    with Client(connection.url, connection.token) as found:
        yield found


@pytest.fixture(scope="package")
def batch(client: Client) -> JobDetail:
    """A job with batch norm that has succeeded."""
    return done(client, normalizer="batch")


def done(client: Client, **fields: Any) -> JobDetail:
    """Run a job to its end."""
    return client.wait(client.submit({**SMALL, **fields}).id, timeout_s=240)


@pytest.fixture
def cli(
    connection: Connection,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Cli:
    """Run a command line in an empty folder; return its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def call(*line: str) -> tuple[int, str, str]:
        code = run(["--url", connection.url, "--token", str(connection.token), *line])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call
