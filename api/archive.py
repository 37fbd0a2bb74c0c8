"""How lists are asked for what is archived."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import Query

ArchivedQuery = Annotated[
    Literal["hide", "only", "show"],
    Query(description="what is archived; a filter that names `archived` decides itself"),
]
ARCHIVED: Mapping[str, bool | None] = {"hide": False, "only": True, "show": None}
"""The same for the service."""
