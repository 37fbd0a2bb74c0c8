from __future__ import annotations

import os
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import psycopg
import pytest
import redis

from normlab.errors import Conflict, ServiceUnavailable
from normlab.events import Finished, Metrics
from service.jobs import leases, listing
from service.jobs.doorbell import Relay, SilentDoorbell
from service.results import reports
from service.servers import broker, embedded, postgres
from service.servers.children import end_leftover
from service.servers.embedded import Servers
from service.settings import Settings
from service.store.database import Database, migrate
from tests.processes import number_is_free
from tests.service.work import claim, reap, series, submit

DEBIAN = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture
def fresh() -> Iterator[Settings]:
    with tempfile.TemporaryDirectory() as folder:
        yield Settings(data_dir=Path(folder), database_url=None, broker_url=None)


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """Use a folder that the tests share, because a first start takes longer than a later one."""
    with tempfile.TemporaryDirectory() as folder:
        yield Settings(data_dir=Path(folder), database_url=None, broker_url=None)


def _keep(servers: Servers, value: str) -> None:
    with psycopg.connect(servers.database_url) as connection:
        connection.execute("create table if not exists kept (x text)")
        connection.execute("insert into kept values (%s)", (value,))
    with redis.Redis(unix_socket_path=_socket(servers)) as connection:
        connection.rpush("kept", value)


def _kept(servers: Servers) -> tuple[list[str], list[str]]:
    with psycopg.connect(servers.database_url) as connection:
        rows = connection.execute("select x from kept").fetchall()
    with redis.Redis(unix_socket_path=_socket(servers)) as other:
        messages = other.lrange("kept", 0, -1)
    return [row[0] for row in rows], [m.decode() for m in messages]


def _socket(servers: Servers) -> str:
    return servers.broker_url.removeprefix("redis+socket://")


def _kill(servers: Servers) -> None:
    for server in servers.started:
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()


def test_servers_start_stop_and_keep_their_data(settings: Settings) -> None:
    servers = embedded.start(settings)
    pids = [server.process.pid for server in servers.started]
    _keep(servers, "from before")
    servers.stop()
    servers.stop()
    assert all(map(number_is_free, pids))
    assert not Path(_socket(servers)).parent.exists()
    servers = embedded.start(settings)
    try:
        assert all("from before" in kept for kept in _kept(servers))
    finally:
        servers.stop()


def test_servers_that_were_killed_start_again_with_what_was_committed(settings: Settings) -> None:
    servers = embedded.start(settings)
    _keep(servers, "committed")
    _kill(servers)
    servers.stop()
    servers = embedded.start(settings)
    try:
        assert all("committed" in kept for kept in _kept(servers))
    finally:
        servers.stop()


def test_servers_that_outlived_their_starter_are_replaced(settings: Settings) -> None:
    starter = os.fork()
    if starter == 0:
        embedded.start(settings)
        os._exit(0)  # as killed: nothing is stopped
    os.waitpid(starter, 0)
    left = int((settings.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
    assert psutil.pid_exists(left)
    servers = embedded.start(settings)
    try:
        assert left not in [server.process.pid for server in servers.started]
        assert number_is_free(left)
        _keep(servers, "after")
    finally:
        servers.stop()


def test_a_pid_file_that_names_a_foreign_process_harms_nobody(tmp_path: Path) -> None:
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{tmp_path}\n")
    end_leftover(pid_file, "postgres", signal.SIGKILL)  # or this test would end here
    assert not pid_file.exists()


@pytest.mark.parametrize("content", ["", "not a number\n", "4194305\n"])
def test_a_broken_or_stale_pid_file_is_ignored(tmp_path: Path, content: str) -> None:
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_text(content)
    end_leftover(pid_file, "postgres", signal.SIGKILL)


def test_two_stacks_on_one_folder_are_refused(settings: Settings) -> None:
    servers = embedded.start(settings)
    try:
        with pytest.raises(Conflict, match="NORMLAB_DATA_DIR"):
            embedded.start(settings)
    finally:
        servers.stop()


def test_servers_that_the_settings_name_are_not_started(settings: Settings) -> None:
    named = settings.model_copy(
        update={"database_url": "postgresql://x", "broker_url": "redis://y"}
    )
    servers = embedded.start(named)
    assert (servers.database_url, servers.broker_url) == ("postgresql://x", "redis://y")
    assert servers.started == []
    servers.stop()


def test_only_the_owner_can_reach_the_sockets_at_any_depth_of_folders(fresh: Settings) -> None:
    deep = fresh.model_copy(update={"data_dir": fresh.data_dir / ("x" * 120)})
    servers = embedded.start(deep)
    try:
        path = Path(_socket(servers))
        assert len(str(path)) < 108
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE((path.parent / "pg").stat().st_mode) == 0o700
        assert (path.parent / "pg" / ".s.PGSQL.5432").is_socket()
    finally:
        servers.stop()


def test_without_redis_messages_go_through_a_folder(
    fresh: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "_redis_binary", lambda: None)
    servers = embedded.start(fresh.model_copy(update={"database_url": "postgresql://x"}))
    assert servers.broker_url == f"filesystem://{fresh.data_dir}/messages"
    servers.stop()


def test_a_server_that_cannot_start_shows_the_end_of_its_log(settings: Settings) -> None:
    with pytest.raises(ServiceUnavailable, match=r"(?s)ended while starting.*no_such_option"):
        embedded.start(settings, postgres_options=["no_such_option=1"])
    embedded.start(settings).stop()  # and nothing is left behind


def test_data_of_another_major_version_is_not_touched(fresh: Settings) -> None:
    (fresh.data_dir / "postgres").mkdir()
    (fresh.data_dir / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(ServiceUnavailable, match="made by PostgreSQL 9"):
        embedded.start(fresh)


def test_an_interrupted_first_start_does_not_block_the_next(fresh: Settings) -> None:
    half = fresh.data_dir / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    embedded.start(fresh).stop()
    assert not half.exists()


@pytest.mark.skipif(not DEBIAN.exists(), reason="Debian's PostgreSQL 15 is not installed")
def test_the_statements_run_on_postgresql_15_too(
    fresh: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_postgres_binaries", lambda: DEBIAN)
    servers = embedded.start(fresh.model_copy(update={"broker_url": "redis://x"}))
    try:
        migrate(servers.database_url)
        with Database(servers.database_url) as database:
            job = submit(database)
            Relay(database, SilentDoorbell(), 5).round()
            held = claim(database)
            reports.keep_all(database, held, [Metrics(series={"val/accuracy": series(1)})])
            assert leases.renew(database, held, 30) is not None
            reap(database)
            leases.finish(database, held, Finished(step=1, summary={}))
            assert listing.list_jobs(database, sort="-val/accuracy").jobs[0].id == job.id
    finally:
        servers.stop()


def test_killed_servers_are_restarted_under_running_clients(settings: Settings) -> None:
    servers = embedded.start(settings)
    try:
        _keep(servers, "before the kill")
        _kill(servers)
        assert {server.name for server in servers.mend()} == {"PostgreSQL", "Redis"}
        assert servers.mend() == []
        _until(lambda: all("before the kill" in kept for kept in _kept(servers)), servers)
    finally:
        servers.stop()


def test_a_server_that_keeps_ending_is_restarted_less_and_less_often(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = embedded.start(settings)
    try:
        redis_server = servers.started[-1]
        monkeypatch.setattr(redis_server, "_start", lambda: subprocess.Popen(["false"]))
        os.kill(redis_server.process.pid, signal.SIGKILL)
        restarted_at = []
        for second in range(10**9, 10**9 + 10):
            redis_server.process.wait()
            clock = SimpleNamespace(monotonic=lambda now=second: now)
            with monkeypatch.context() as context:
                context.setattr("service.servers.children.time", clock)
                if servers.mend():
                    restarted_at.append(second - 10**9)
        assert restarted_at == [0, 2, 5, 9]  # after more than 0, 1, 2 and 3 seconds
    finally:
        servers.stop()


def _until(well: Callable[[], bool], servers: Servers) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            assert well()
            return
        except (psycopg.OperationalError, redis.ConnectionError):
            assert time.monotonic() < deadline, "the servers do not come back"
            servers.mend()
            time.sleep(0.1)
