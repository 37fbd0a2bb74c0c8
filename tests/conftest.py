"""Real servers for the tests: one PostgreSQL and one Redis a run, an empty database a test."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List
from uuid import uuid4

import pytest

if TYPE_CHECKING:  # Python 3.8 runs part of the tests, and has no service
    from service.database import Database
    from service.embedded import Servers

_FOLDER = "NORMLAB_TEST_SERVERS"
_kept: List[Servers] = []


def pytest_configure(config: pytest.Config) -> None:
    """Name the folder that all processes of this run share."""
    if not hasattr(config, "workerinput"):
        os.environ[_FOLDER] = tempfile.mkdtemp(prefix="normlab-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers, whichever process of this run started them."""
    if hasattr(config, "workerinput"):
        return
    folder = Path(os.environ.pop(_FOLDER))
    if (folder / "servers.json").exists():
        _stop(json.loads((folder / "servers.json").read_text())["pids"])
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def servers() -> Dict[str, Any]:
    """This run's servers: `database_url` (of a template), `broker_url` and their `pids`."""
    folder = Path(os.environ[_FOLDER])
    known = folder / "servers.json"
    with _locked(folder / "lock"):
        if not known.exists():
            known.write_text(json.dumps(_start(folder)))
    found: Dict[str, Any] = json.loads(known.read_text())
    return found


@pytest.fixture
def database_url(servers: Dict[str, Any]) -> Iterator[str]:
    """An empty, migrated database of this test alone."""
    import psycopg

    name = f"test_{uuid4().hex}"
    maintenance = servers["database_url"].replace("/normlab?", "/postgres?")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"create database {name} template normlab strategy file_copy")
        yield servers["database_url"].replace("/normlab?", f"/{name}?")
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The service's door to an empty database."""
    from service.database import Database

    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def broker_url(servers: Dict[str, Any]) -> str:
    """An empty Redis of this test alone."""
    import redis

    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 16
    with redis.Redis(unix_socket_path=_socket(servers), db=number) as connection:
        connection.flushdb()
    return f"{servers['broker_url']}?virtual_host={number}"


def _socket(servers: Dict[str, Any]) -> str:
    path: str = servers["broker_url"][len("redis+socket://") :]
    return path


def _start(folder: Path) -> Dict[str, Any]:
    from service import embedded
    from service.database import migrate
    from service.settings import Settings

    settings = Settings(data_dir=folder / "data", database_url=None, broker_url=None)
    started = embedded.start(
        settings,
        # A crash of the machine may cost the tests their databases.
        postgres_options=["fsync=off", "synchronous_commit=off", "full_page_writes=off"],
    )
    migrate(started.database_url)
    _kept.append(started)  # it outlives this process, which may end before the others
    return {
        "database_url": started.database_url,
        "broker_url": started.broker_url,
        "pids": [server.process.pid for server in started.started],
    }


def _stop(pids: List[int]) -> None:
    import psutil

    for servers in _kept:
        servers.stop()
    for pid in pids:
        if psutil.pid_exists(pid):
            process = psutil.Process(pid)
            process.terminate()
            process.wait(30)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
