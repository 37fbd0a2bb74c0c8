"""The addresses of a running stack's embedded servers, for other processes of its owner."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

FILE_NAME = "servers.json"


@dataclass(frozen=True)
class ServerUrls:
    """The two URLs that workers and tools need."""

    database_url: str
    broker_url: str


def write_servers(data_dir: Path, servers: ServerUrls) -> None:
    """Write *servers* to *data_dir*, readable only by its owner."""
    forget_servers(data_dir)
    descriptor = os.open(data_dir / FILE_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(servers), file)


def read_servers(data_dir: Path) -> ServerUrls | None:
    """Return the servers of a running stack in *data_dir*, or None."""
    try:
        return ServerUrls(**json.loads((data_dir / FILE_NAME).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def forget_servers(data_dir: Path) -> None:
    """Remove the file of a stack."""
    (data_dir / FILE_NAME).unlink(missing_ok=True)
