"""Records of plugins: their owners, and the names that they add."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, List, Mapping, Union

from pydantic import BaseModel, ConfigDict, Field, field_validator

from normlab.specs.base import Label, text_problem

MOST_FILES = 256


class PluginUpload(BaseModel):
    """Code that somebody uploads: the text of its files by their path."""

    model_config = ConfigDict(extra="forbid")

    name: Label = Field(
        min_length=1, max_length=200, description="the name that people see, such as my_norms.py"
    )
    files: Dict[str, str] = Field(
        min_length=1,
        max_length=MOST_FILES,
        description="files by relative path, with their text; at least one is a .py file",
    )
    origin: Dict[str, str] = Field(
        default_factory=dict,
        max_length=8,
        description="where it came from: git_commit, git_diff, folder",
    )

    @field_validator("files")
    @classmethod
    def _paths_are_plain(cls, files: Dict[str, str]) -> Dict[str, str]:
        for path in files:
            problem = text_problem(path)
            if problem or not path or len(path) > 500:
                raise ValueError(f"path {path[:80]!r}: {problem or 'of 1 to 500 characters'}")
        return files


class PluginEntry(BaseModel):
    """One name that a plugin adds."""

    part: str = Field(description="normalizer, network, dataset, ...")
    name: str
    summary: str
    options: Dict[str, Mapping[str, Any]] = Field(description="JSON schema of each option")


class PluginRecord(BaseModel):
    """One plugin; its digest is what `code` of a job holds."""

    digest: str
    name: str
    owner: Union[str, None] = Field(description="the owner who uploaded it; null: the operator")
    everywhere: bool = Field(
        description="whether every job may use its names without naming the plugin"
    )
    entries: List[PluginEntry]
    origin: Dict[str, str] = Field(default_factory=dict)
    created_at: datetime


class PluginTrouble(BaseModel):
    """A plugin of the operator's that cannot be used."""

    name: str
    reason: str
    traceback: str = Field(description="empty unless the token is an admin's")


class PluginList(BaseModel):
    """The plugins of a stack, newest first."""

    plugins: List[PluginRecord]
    troubles: List[PluginTrouble]


class PluginSource(BaseModel):
    """The files of a plugin, as text."""

    name: str
    files: Dict[str, str]
