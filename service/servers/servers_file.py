"""The addresses of a running stack's embedded servers, for other processes of its owner."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from normlab.host.private_files import write_privately

FILE_NAME = "servers.json"


@dataclass(frozen=True)
class ServerUrls:
    """The two URLs that workers and tools need."""

    database_url: str
    broker_url: str


def write_servers(data_dir: Path, servers: ServerUrls) -> None:
    """Write *servers* to *data_dir*, readable only by its owner."""
    write_privately(data_dir / FILE_NAME, json.dumps(asdict(servers)))


def read_servers(data_dir: Path) -> ServerUrls | None:
    """Return the servers of a running stack in *data_dir*, or None."""
    try:
        return ServerUrls(**json.loads((data_dir / FILE_NAME).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def forget_servers(data_dir: Path) -> None:
    """Remove the file of a stack."""
    (data_dir / FILE_NAME).unlink(missing_ok=True)
