"""A broker that answers with errors ends no worker: jobs are found by polling meanwhile."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
import redis

from service.servers.embedded import _redis_binary
from service.store.database import Database

from .conftest import NOTHING
from .test_worker import Floor


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(mkdtemp(prefix="normlab-redis-"))  # a socket's path must be short
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def broker(folder: Path) -> Iterator[redis.Redis]:
    """A Redis of this test alone, to be put into trouble."""
    (folder / "data").mkdir()
    socket = folder / "redis.sock"
    config = folder / "redis.conf"
    config.write_text(
        f"port 0\nunixsocket {socket}\ndir {folder}/data\nsave 3600 1000000\n"
        f"logfile {folder}/redis.log\n"
    )
    process = subprocess.Popen([str(_redis_binary()), str(config)])
    client = redis.Redis(unix_socket_path=str(socket))
    try:
        until(lambda: answers(client))
        yield client
    finally:
        client.close()
        process.kill()
        process.wait()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def until(well: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not well():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def full_disk(client: redis.Redis, folder: Path) -> str:
    shutil.rmtree(folder / "data")
    client.set("something", "to save")
    client.bgsave()
    until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    return "MISCONF"


def no_replicas(client: redis.Redis, folder: Path) -> str:
    client.config_set("min-replicas-to-write", 1)
    return "NOREPLICAS"


def read_only(client: redis.Redis, folder: Path) -> str:
    client.replicaof("127.0.0.1", "1")
    return "read only replica"


@pytest.mark.parametrize("trouble", [full_disk, no_replicas, read_only])
def test_a_worker_outlives_a_broker_that_answers_with_errors(
    database: Database,
    database_url: str,
    broker: redis.Redis,
    folder: Path,
    trouble: Callable[[redis.Redis, Path], str],
) -> None:
    floor = Floor(database, database_url, f"redis+socket://{folder}/redis.sock", folder / "jobs")
    try:
        worker = floor.hire(NORMLAB_POLL_S=1)
        word = trouble(broker, folder)
        with pytest.raises(redis.ResponseError, match=word):
            broker.lpush("x", "y")
        time.sleep(5)  # the worker asks its broker all the time
        assert worker.poll() is None
        job = floor.submit(NOTHING, rings=0)
        floor.until(lambda: floor.job(job).state == "succeeded")
    finally:
        floor.close()
