"""How the commands find the API: options, environment, or the file that `normlab up` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from normlab.stacks.addresses import Address, data_dir_of, resolve

if TYPE_CHECKING:
    from normlab.client import Client

__all__ = ["Address", "connect", "data_dir_of", "resolve"]


def connect(ctx: typer.Context, *, tries: int = 5, timeout_s: float = 30.0) -> Client:
    """Return a client for the API that this command line names."""
    from normlab.client import Client

    found = resolve(ctx.find_root().obj)
    return Client(found.url, found.token, tries=tries, timeout_s=timeout_s)
