"""Every command that shows a failed search shows the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import httpx
import pytest

from normlab.cli import studies
from normlab.cli.application import run
from normlab.client import Client

ID = "01a22b00-0000-7000-8000-00000000beef"
REASON = "20 proposals in a row could not run; the last one: batch_size 64 of 32 samples"
FILE = """
name: never
base: {normalizer: batch, dataset: {name: digits}}
search: {space: {optimizer.lr: {low: 0.001, high: 1, log: true}}}
"""
STUDY: Dict[str, Any] = {
    "id": ID,
    "name": "never",
    "owner": "me",
    "state": "failed",
    "created_at": "2026-01-01T00:00:00Z",
    "cells": 0,
    "counts": {},
    "reused": 0,
    "paths": ["optimizer.lr"],
    "reason": REASON,
    "spec": {"name": "never", "search": {"space": {"optimizer.lr": {"low": 0.001, "high": 1}}}},
    "grid": [],
}


@pytest.fixture(autouse=True)
def _a_stack_with_this_study(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=STUDY))
    monkeypatch.setattr(studies, "connect", lambda ctx: Client("http://stack", http=transport))


@pytest.mark.parametrize(
    "line",
    [["show"], ["complete"], ["run", "--no-wait"], ["run"]],
    ids=lambda line: " ".join(line),
)
def test_every_command_shows_the_reason_of_a_failed_search(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "never.yaml"
    file.write_text(FILE)
    code = run(["study", *line, str(file) if line[0] == "run" else ID])
    said = capsys.readouterr()
    assert REASON in said.out + said.err
    assert code == (1 if line == ["run"] else 0)
