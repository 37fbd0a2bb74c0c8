"""The HTTP client: submit jobs, follow them, read what they measured."""

from __future__ import annotations

from normlab.client.session import Client

__all__ = ["Client"]
