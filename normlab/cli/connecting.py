"""How the commands find the API: options, environment, or the file that `normlab up` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from normlab.stacks.addresses import resolve
from normlab.stacks.connection import Connection

if TYPE_CHECKING:
    from normlab.client import Client


def connect(ctx: typer.Context) -> Client:
    """Return a client for the API that this command line names."""
    return client_of(resolve(ctx.find_root().obj))


def client_of(found: Connection, **how: Any) -> Client:
    """Return a client for *found*; *how* is that of `Client`."""
    from normlab.client import Client

    return Client.of(found, **how)
