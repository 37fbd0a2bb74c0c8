"""The API as a separate process, and raw connections to it for hostile clients."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

TOKEN = "an-operators-token-that-no-log-may-hold"


@dataclass(frozen=True)
class ApiProcess:
    """A running API."""

    url: str
    log: Path
    process: psutil.Process

    @property
    def memory_bytes(self) -> int:
        return int(self.process.memory_info().rss)

    def connect(self) -> socket.socket:
        port = int(self.url.rpartition(":")[2])
        connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(self, line: str, *headers: str, token: str | None = TOKEN) -> socket.socket:
        """Send a request's head and return the connection."""
        connection = self.connect()
        connection.sendall(head(line, *headers, token=token))
        return connection


def head(line: str, *headers: str, token: str | None = TOKEN) -> bytes:
    who = [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([f"{line} HTTP/1.1", "Host: localhost", *who, *headers, "", ""]).encode()


def leave_with_a_reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextmanager
def api_process(database_url: str, folder: Path, **settings: str) -> Iterator[ApiProcess]:
    """Run `python -m api` on *database_url*; its log is a file."""
    own = {
        "NORMLAB_DATABASE_URL": database_url,
        "NORMLAB_BROKER_URL": "memory://",
        "NORMLAB_DATA_DIR": str(folder),
        "NORMLAB_TOKEN": TOKEN,
        "NORMLAB_PORT": "0",
        **{f"NORMLAB_{name.upper()}": value for name, value in settings.items()},
    }
    log = folder / "api.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "api"],
            stdout=subprocess.PIPE,
            stderr=out,
            env={**os.environ, **own},
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, log.read_text()
        yield ApiProcess(json.loads(line)["url"], log, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.communicate(timeout=120)
