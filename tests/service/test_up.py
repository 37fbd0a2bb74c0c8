"""The output of a started stack can be used unchanged."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from normlab.stacks.connection import Connection
from service.servers.embedded import Servers
from service.servers.launcher import Stack
from service.up import _say_where


def test_the_export_lines_can_be_pasted_with_any_token(
    capsys: pytest.CaptureFixture[str],
) -> None:
    token = 'it\'s $HOME `x` "y"'
    there = Connection("http://127.0.0.1:8642", token)
    _say_where(Stack(there, Path("/data"), Servers("", "")))
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("export ")]
    show = 'printf "%s\\n" "$NORMLAB_URL" "$NORMLAB_TOKEN"'
    shell = subprocess.run(
        ["sh", "-c", "\n".join([*lines, show])], capture_output=True, text=True, check=True, env={}
    )
    assert shell.stdout.splitlines() == ["http://127.0.0.1:8642", token]
