"""The parameter of lists for archived jobs and studies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import Query

ArchivedQuery = Annotated[
    Literal["hide", "only", "show"],
    Query(
        description="which jobs or studies are listed; a filter that names `archived` overrides "
        "this"
    ),
]
ARCHIVED: Mapping[str, bool | None] = {"hide": False, "only": True, "show": None}
"""The same for the service."""
