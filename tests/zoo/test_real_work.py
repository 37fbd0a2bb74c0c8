"""The page about real networks is typed in a fresh folder, against a stack of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from normlab.cli.own_stack import own_stack
from normlab.client import Client
from tests.docs.test_pages import SETTINGS, _type, blocks

PAGE = "real-work.md"


def test_a_reader_trains_a_network_of_timm_with_three_normalizers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-cache"))
    settings = {**SETTINGS, "NORMLAB_DATA_ROOT": str(tmp_path / "datasets")}
    known: dict[str, Any] = {}
    with own_stack(tmp_path / "stack", settings) as connection:
        monkeypatch.setenv("NORMLAB_URL", connection.url)
        monkeypatch.setenv("NORMLAB_TOKEN", str(connection.token))
        for block in blocks(PAGE):
            if block.language != "console":
                _type(block, PAGE, known)
        with Client(connection.url, connection.token) as client:
            details = [client.get(job.id) for job in client.list()]
            (stopped,) = [job for job in details if job.name == "stopped" and len(job.attempts) > 1]
            (swapped,) = [job for job in details if job.name == "swapped"]
            (device,) = [d for d in client.devices() if d.kind == "cpu"]
    assert "timm" in device.workers[0].versions
    trained = [job for job in details if job.study is not None]
    (failed,) = [job for job in details if job.state == "failed"]
    assert failed.error is not None
    assert "is not in the cache of this worker" in failed.error.message
    assert {(j.normalizer, j.batch_size) for j in trained} == {
        (kind, size) for kind in ("batch", "group", "layer") for size in (2, 32)
    }
    assert {job.state for job in trained} == {"succeeded"}
    for job in trained:
        conversion = job.attempts[-1].environment["conversion"]
        assert conversion.startswith(f"converted to {job.normalizer}: 15, kept: 0, skipped: 0")
    assert 60 <= stopped.attempts[-1].resumed_from_step < 60 * 48
    assert stopped.attempts[-1].environment["loading"].startswith("streamed")
    assert swapped.attempts[-1].environment["init_from"]["carried"]
