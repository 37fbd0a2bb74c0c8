"""A stack starts and its commands find it if the environment names a dead proxy."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("service.up", reason="the server's packages are not installed")

from normlab.cli.application import run
from normlab.stacks.own import own_stack

PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
SETTINGS = {"NORMLAB_PORT": "0", "NORMLAB_SLOTS": "1", "OMP_NUM_THREADS": "1"}
TINY = ["-s", "normalizer=batch", "-s", "dataset.name=digits", "-s", "max_steps=1"]


def test_a_stack_behind_a_dead_proxy_is_ready_trains_and_is_found_healthy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in PROXIES:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with ExitStack() as opened:
        folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="normlab-test-"))
        stack = opened.enter_context(own_stack(Path(folder), SETTINGS))
        where = ["--url", stack.url, "--token", str(stack.token)]
        assert run([*where, "submit", *TINY, "-s", "epochs=1", "--wait"]) == 0
        assert run([*where, "doctor"]) == 0, capsys.readouterr().out
