"""The log of the service: JSON, without values of variables and without secrets."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from service.journal import without_secrets

FAILING = """
import logging, structlog
from service.journal import {configure}
{configure}("info")
def connect(token):
    raise RuntimeError("no such host")
try:
    connect("a-secret-token")
except RuntimeError:
    structlog.get_logger("here").exception("it failed")
    logging.getLogger("library").exception("it failed there")
"""


def log_of(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stderr


def test_a_traceback_has_places_and_no_values() -> None:
    said = log_of(FAILING.format(configure="configure"))
    for line in said.splitlines():
        (failure,) = json.loads(line)["exception"]
        assert failure["exc_value"] == "no such host"
        assert failure["frames"][-1]["name"] == "connect"
        assert "locals" not in failure["frames"][-1]
    assert "a-secret-token" not in said.replace('connect("a-secret-token")', "")


def test_in_a_terminal_too_a_traceback_has_no_values() -> None:
    said = log_of(FAILING.format(configure="configure_for_people"))
    assert said.count("RuntimeError: no such host") == 2
    assert "token = " not in said


def test_no_line_contains_the_operators_token() -> None:
    said = log_of(
        "import structlog; from service.journal import configure;"
        "configure('info', ['a-secret-token']);"
        "structlog.get_logger('here').info('got a-secret-token', given='a-secret-token')"
    )
    assert json.loads(said)["given"] == "***"
    assert "a-secret-token" not in said


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("{'authorization': 'Bearer abc.def-_1'}", "{'authorization': 'Bearer ***'}"),
        ("\"b'bearer abc'\"", "\"b'bearer ***'\""),
        ("cookie: normlab_token=abc; other=1", "cookie: normlab_token=***; other=1"),
        ("cookie: normlab_session=a-b_c; other=1", "cookie: normlab_session=***; other=1"),
        (
            "cannot reach postgresql://me:secret@db/normlab",
            "cannot reach postgresql://me:***@db/normlab",
        ),
        ("redis://:secret@host:6379/0 is away", "redis://:***@host:6379/0 is away"),
        ("http://127.0.0.1:8642/v1/jobs is at 12:30", "http://127.0.0.1:8642/v1/jobs is at 12:30"),
    ],
)
def test_anything_that_looks_like_a_secret_is_hidden(line: str, left: str) -> None:
    assert without_secrets(line) == left


def test_a_terminal_shows_no_details_of_migrations() -> None:
    said = log_of(
        "import logging; from service.journal import configure_for_people;"
        "configure_for_people(); logging.getLogger('alembic.runtime').info('setup plugin');"
        "logging.getLogger('alembic').warning('a warning')"
    )
    assert "setup plugin" not in said
    assert "a warning" in said
