"""How the commands find the API: options, environment, or the file that `normlab up` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from normlab.stacks.addresses import Address, data_dir_of, resolve
from normlab.stacks.connection import Connection

if TYPE_CHECKING:
    from normlab.client import Client

__all__ = ["Address", "client_of", "connect", "data_dir_of", "resolve"]


def connect(ctx: typer.Context, *, tries: int = 5, timeout_s: float = 30.0) -> Client:
    """Return a client for the API that this command line names."""
    found = resolve(ctx.find_root().obj)
    return client_of(found, tries=tries, timeout_s=timeout_s)


def client_of(found: Connection, **how: Any) -> Client:
    """Return a client for *found*; *how* is that of `Client`."""
    from normlab.client import Client

    return Client.of(found, **how)
