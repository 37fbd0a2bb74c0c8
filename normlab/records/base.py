"""The root of everything that the service says as JSON."""

from __future__ import annotations

from pydantic import BaseModel


class Record(BaseModel):
    """The root of all records."""
