"""Where the CLI's commands find the API: options, environment, or what `normlab up` left."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import typer

from normlab.connection import Connection, read_connection
from normlab.errors import ServiceUnavailable

if TYPE_CHECKING:
    from normlab.client import Client


@dataclass(frozen=True)
class Address:
    """What the command line and the environment say of the API."""

    url: Optional[str]
    token: Optional[str]
    data_dir: Path


def default_data_dir() -> Path:
    """Return the platform's folder for our data, or the one that NORMLAB_DATA_DIR names."""
    named = os.environ.get("NORMLAB_DATA_DIR")
    if named:
        return Path(named)
    from platformdirs import user_data_dir

    return Path(user_data_dir("normlab", appauthor=False))


def resolve(address: Address) -> Connection:
    """Complete *address* with what a stack on this machine left."""
    left = read_connection(address.data_dir)
    if address.url is None:
        if left is None:
            raise ServiceUnavailable(
                f"no API is known: no --url, no NORMLAB_URL, no stack of this user in "
                f"{address.data_dir}; start one with `normlab up`"
            )
        return Connection(left.url, address.token or left.token)
    same = left is not None and left.url.rstrip("/") == address.url.rstrip("/")
    return Connection(address.url, address.token or (left.token if left and same else None))


def connect(ctx: typer.Context, *, tries: int = 5, timeout_s: float = 30.0) -> Client:
    """Return a client for the API that this command line means."""
    from normlab.client import Client

    found = resolve(ctx.find_root().obj)
    return Client(found.url, found.token, tries=tries, timeout_s=timeout_s)
