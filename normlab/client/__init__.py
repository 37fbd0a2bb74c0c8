"""The HTTP client: submit jobs, follow them, read what they measured."""

from __future__ import annotations

from normlab.client.asynchronous import AsyncClient
from normlab.client.notebooks import runs, stack
from normlab.client.session import Client

__all__ = ["AsyncClient", "Client", "runs", "stack"]
