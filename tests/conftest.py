"""Real servers for the tests: PostgreSQL and Redis per process, an empty database per test."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterator, List, Tuple
from uuid import uuid4

import pytest
from hypothesis import settings

if TYPE_CHECKING:  # Python 3.8 runs some of the tests, and has no service
    from service.servers.embedded import Servers
    from service.store.database import Database
    from tests.s3 import Bucket, Gate

_FOLDER = "NORMLAB_TEST_SERVERS"
_running: List[Servers] = []

# how long an example takes says more about the machine than about the code
settings.register_profile("normlab", deadline=None)
settings.load_profile("normlab")


def pytest_configure() -> None:
    """
    Name the folder of this process's servers, and give reads of the API time.

    Each process of a parallel run has servers of its own: to PostgreSQL, an open transaction of
    another database is an open transaction, and events are read up to the first of those.
    """
    os.environ[_FOLDER] = tempfile.mkdtemp(prefix="normlab-tests-")
    os.environ["XDG_STATE_HOME"] = os.environ[
        _FOLDER
    ]  # the stacks of the tests do not belong to the user
    # A busy machine is slow, which is no failure; tests of this limit set their own
    os.environ["NORMLAB_READ_TIMEOUT_S"] = "60"


def pytest_unconfigure() -> None:
    """Stop the servers."""
    for servers in _running:
        servers.stop()
    shutil.rmtree(os.environ.pop(_FOLDER), ignore_errors=True)


@pytest.fixture(scope="session")
def servers() -> Dict[str, str]:
    """This process's servers: `database_url` (of a template) and `broker_url`."""
    return _start(Path(os.environ[_FOLDER]))


@pytest.fixture
def database_url(servers: Dict[str, str]) -> Iterator[str]:
    """An empty, migrated database for this test only."""
    import psycopg

    name = f"test_{uuid4().hex}"
    maintenance = servers["database_url"].replace("/normlab?", "/postgres?")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"create database {name} template normlab strategy file_copy")
        yield servers["database_url"].replace("/normlab?", f"/{name}?")
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The service's `Database` for an empty database."""
    from service.store.database import Database

    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def broker_url(servers: Dict[str, str]) -> str:
    """An empty Redis for this test only."""
    import redis

    with redis.Redis(
        unix_socket_path=servers["broker_url"][len("redis+socket://") :]
    ) as connection:
        connection.flushdb()
    return servers["broker_url"]


@pytest.fixture(scope="session")
def s3() -> Iterator[Tuple[Gate, int]]:
    """This process's server of the S3 API: its gate, and its port."""
    from tests.s3 import s3_server

    with s3_server() as running:
        yield running


@pytest.fixture
def bucket(s3: Tuple[Gate, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket for this test only, with its credentials in the environment."""
    from tests.s3 import Bucket

    made = Bucket(*s3)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


def _start(folder: Path) -> Dict[str, str]:
    from service.servers import embedded
    from service.settings import Settings
    from service.store.database import migrate

    started = embedded.start(
        Settings(data_dir=folder / "data", database_url=None, broker_url=None),
        # The databases of the tests need not survive a crash of the machine.
        postgres_options=["fsync=off", "synchronous_commit=off", "full_page_writes=off"],
    )
    _running.append(started)
    migrate(started.database_url)
    return {"database_url": started.database_url, "broker_url": started.broker_url}


@pytest.fixture
def no_plugins() -> Iterator[None]:
    """Leave this process as it was: without plugins."""
    from normlab.specs import registries

    yield
    registries.put_in_force([])
    registries.find_with(None)
