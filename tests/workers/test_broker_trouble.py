"""A broker that answers with errors does not end a worker; jobs are found by polling."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.servers.broker import _redis_binary
from service.store.database import Database

from .conftest import NOTHING
from .floor import Floor


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(mkdtemp(prefix="normlab-redis-"))  # a socket's path must be short
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def broker(folder: Path) -> Iterator[redis.Redis]:
    """A Redis for this test only, which the test breaks."""
    (folder / "data").mkdir()
    socket = folder / "redis.sock"
    config = folder / "redis.conf"
    config.write_text(
        f"port 0\nunixsocket {socket}\ndir {folder}/data\nsave 3600 1000000\n"
        f"logfile {folder}/redis.log\n"
    )
    process = subprocess.Popen([str(_redis_binary()), str(config)])
    # a client that retries automatically would wait until the trouble is over
    client = redis.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0))
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


def until(well: Callable[[], bool], timeout_s: float = 240) -> None:
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


def no_memory(client: redis.Redis, folder: Path) -> str:
    client.config_set("maxmemory", 1)
    return "used memory > 'maxmemory'"


def busy(client: redis.Redis, folder: Path) -> str:
    client.config_set("lua-time-limit", 1)
    _leave_it_with(folder, b"eval 'while true do end' 0")
    until(lambda: refuses(client, "BUSY"))
    return "BUSY"


def loading(client: redis.Redis, folder: Path) -> str:
    for number in range(40):  # it answers after each 2 MB, so every second for about 20 s
        client.set(f"large {number}", os.urandom(1 << 20))
    client.config_set("key-load-delay", 500_000)  # microseconds per item
    _leave_it_with(folder, b"debug reload")
    until(lambda: refuses(client, "loading"))
    return "loading"


def _leave_it_with(folder: Path, command: bytes) -> None:
    """Send a command that is answered only after the trouble."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(folder / "redis.sock"))
        connection.sendall(command + b"\r\n")


def refuses(client: redis.Redis, word: str) -> bool:
    try:
        client.lpush("x", "y")
    except redis.RedisError as e:
        return word in str(e)
    return False


@pytest.mark.parametrize("trouble", [full_disk, no_replicas, read_only, no_memory, busy, loading])
def test_a_worker_survives_a_broker_that_answers_with_errors(
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
        assert refuses(broker, word)
        time.sleep(5)  # the worker uses its broker all the time
        assert worker.poll() is None
        job = floor.submit(NOTHING, rings=0)
        floor.until(lambda: floor.job(job).state == "succeeded")
    finally:
        floor.close()
