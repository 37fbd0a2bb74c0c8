"""A real stack for the commands, with the settings of the module that asks for it."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, Iterator, Tuple

import pytest

from normlab.cli.application import run
from normlab.cli.own_stack import own_stack
from normlab.stacks.connection import Connection

Run = Callable[..., Tuple[int, str, str]]


@pytest.fixture(scope="module")
def connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A stack of this module alone; its SETTINGS are the environment."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="normlab-test-"))
        yield stack.enter_context(own_stack(Path(folder), request.module.SETTINGS))


@pytest.fixture
def cli(connection: Connection, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line against the stack; return its exit code, output and errors."""

    def call(*line: str) -> Tuple[int, str, str]:
        code = run(["--url", connection.url, "--token", str(connection.token), *line])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call
