"""A real API without workers, for the commands of a test, and what they answer."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import pytest

from api.main import create_app
from normlab.cli.application import run
from service.jobs.doorbell import SilentDoorbell
from service.settings import Settings
from service.store.database import Database
from service.store.tokens import Scope
from tests.api.serving import serve
from tests.tokens import create_token


@contextmanager
def api_for(
    monkeypatch: pytest.MonkeyPatch, database: Database, folder: Path, scope: Scope
) -> Iterator[None]:
    """Let commands talk to an API on *database*, with a token of grace that has *scope*."""
    settings = Settings(
        database_url=database.conninfo, data_dir=folder, inspector_socket=folder / "nobody"
    )
    monkeypatch.setenv("NORMLAB_TOKEN", create_token(database, "grace", [scope]))
    with serve(create_app(settings, SilentDoorbell())) as url:
        monkeypatch.setenv("NORMLAB_URL", url)
        yield


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """Run a command with --json, which succeeds, and return its answer."""
    assert run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)
