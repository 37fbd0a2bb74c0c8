"""Hostile requests: no 500, no dropped connection, none that waits for the others."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.store.database import Database
from tests.api.conftest import OPERATORS_TOKEN, token_header
from tests.api.malformed import malformed
from tests.many_jobs import fill

_SPECS = int(os.environ.get("NORMLAB_TEST_MALFORMED", "1000"))
_SEED = int(os.environ.get("NORMLAB_TEST_SEED", "13"))
_JOBS = 50_000
_READERS = 20
_ROUNDS = 20
_PATIENCE_S = 120.0
_READ_S = 60.0


def test_malformed_specs_are_answered_with_their_faults(
    client: httpx.Client, database: Database
) -> None:
    found: Counter[int] = Counter()
    for number, (path, body) in enumerate(malformed(_SEED, _SPECS)):
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        while answer.status_code == 202 and "Retry-After" in answer.headers:
            assert path in ("/v1/jobs:validate", "/v1/studies:preview")
            answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code < 500, (number, path, body[:500], answer.text)
        if answer.status_code >= 400:
            problem = answer.json()
            assert problem["code"] != "error", problem
        found[answer.status_code] += 1
    assert found[422] > _SPECS / 2
    assert client.get("/v1/jobs", params={"limit": 1000}).status_code == 200
    assert client.get("/v1/studies").status_code == 200


_FILTERS = (
    " or ".join(["val/accuracy > 2"] * 5),
    " or ".join(["val/accuracy > 2"] * 90),
    "val/accuracy in (" + ", ".join(str(n) for n in range(2, 400)) + ")",
    " or ".join(f"optimizer.name ~ zz{n}" for n in range(7)),
    " and ".join(["not name ~ zz"] * 12),
    "not " * 16 + "val/loss > 2",
    "not " * 400 + "seed = 1",
    "(" * 900 + "seed = 1" + ")" * 900,
    "name ~ '%_%_%_%_%_%_%_%_%'",
)
_SORTS = ("-created_at", "val/accuracy", "-val/loss", "name", "nothing/there", "-seed")


def _read(chance: random.Random) -> tuple[str, dict[str, str]]:
    path = chance.choice(("/v1/jobs", "/v1/jobs", "/v1/jobs", "/jobs", "/jobs/rows", "/v1/studies"))
    params = {"filter": chance.choice(_FILTERS), "sort": chance.choice(_SORTS), "limit": "200"}
    return path, {} if path == "/v1/studies" else params


@pytest.fixture
def full_store(database: Database) -> Database:
    fill(database, _JOBS)
    return database


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[str]:
    """The API in a separate process, as in production; yield its URL."""
    settings = {
        "NORMLAB_DATABASE_URL": database_url,
        "NORMLAB_DATA_DIR": str(tmp_path),
        "NORMLAB_TOKEN": OPERATORS_TOKEN,
        "NORMLAB_PORT": "0",
        "NORMLAB_LOG_LEVEL": "error",
        "NORMLAB_READ_TIMEOUT_S": str(_READ_S),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "api"], env={**os.environ, **settings}, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["url"])
        process.terminate()


class Load:
    """Readers of one token that send expensive requests until another reader has been answered."""

    def __init__(self, server: str, headers: dict[str, str]) -> None:
        self.server, self.headers = server, headers
        self.over = threading.Event()
        self.wrong: list[object] = []
        self.answered: Counter[int] = Counter()

    def attack(self, seed: int) -> None:
        chance = random.Random(seed)
        with httpx.Client(base_url=self.server, headers=self.headers) as client:
            while not self.over.is_set():
                path, params = _read(chance)
                patience = 0.1 if chance.random() < 0.2 else _PATIENCE_S
                try:
                    answer = client.get(path, params=params, timeout=patience)
                except httpx.TransportError as e:
                    left = isinstance(e, httpx.TimeoutException) and patience < _PATIENCE_S
                    if not left:  # as one reader in five does
                        self.wrong.append((path, params, e))
                    continue
                self.answered[answer.status_code] += 1
                if answer.status_code not in (200, 422, 429):
                    self.wrong.append((path, params, answer.status_code))

    def read_beside(self, headers: dict[str, str]) -> None:
        with httpx.Client(base_url=self.server, headers=headers, timeout=_PATIENCE_S) as other:
            for _ in range(_ROUNDS):
                for path in ("/v1/jobs?limit=20", "/v1/devices", "/readyz"):
                    answer = other.get(path)
                    if answer.status_code != 200:
                        self.wrong.append((path, answer.status_code, answer.text))
            until = time.monotonic() + _PATIENCE_S
            while not {422, 429} <= set(self.answered) and time.monotonic() < until:
                other.get("/readyz")


def test_a_load_of_hostile_reads_stops_nobody(full_store: Database, server: str) -> None:
    """Twenty readers of one token send expensive requests and often disconnect."""
    load = Load(server, token_header(full_store, "eve", "read"))
    readers = [threading.Thread(target=load.attack, args=(seed,)) for seed in range(_READERS)]
    for reader in readers:
        reader.start()
    try:
        load.read_beside({"Authorization": f"Bearer {OPERATORS_TOKEN}"})
    finally:
        load.over.set()
        for reader in readers:
            reader.join()
    assert load.wrong == []
    assert load.answered[422] > 0  # more than may be asked
    assert load.answered[429] > 0  # more at once than one owner may
