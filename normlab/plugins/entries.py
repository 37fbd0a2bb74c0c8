"""The description of one name that a plugin adds."""

from __future__ import annotations

from typing import Any, Dict

from pydantic import BaseModel, ConfigDict, Field


class EntryDescription(BaseModel):
    """One name that a plugin adds."""

    model_config = ConfigDict(frozen=True)

    part: str
    name: str
    path: str = Field(description="module:object; it can be imported once the plugin is loaded")
    summary: str = ""
    form: str = Field(
        "", description="of a normalizer: module or moments; of a network: norm or converted"
    )
    facts: Dict[str, Any] = Field(default_factory=dict)
    options: Dict[str, Dict[str, Any]] = Field(default_factory=dict)
