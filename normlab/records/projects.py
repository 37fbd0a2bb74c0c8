"""Records of projects and their members."""

from __future__ import annotations

from datetime import datetime
from typing import List, Literal, Union

from pydantic import BaseModel, Field, field_validator

from normlab.plain_text import visible
from normlab.records.access import Asked

Role = Literal["read", "submit", "admin"]
DEFAULT = "default"
"""The project of whatever names none; at first, everybody is its member."""
EVERYBODY = "*"
"""Stands for all owners as a member."""


class ProjectRequest(Asked):
    """The properties of a new project."""

    name: str = Field(
        max_length=64,
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        description="the name: small letters and digits, with . _ - between them; it cannot be "
        "changed",
    )
    note: str = Field("", max_length=200, description="its purpose")

    @field_validator("note")
    @classmethod
    def _is_plain(cls, text: str) -> str:
        return visible(text)


class MemberRequest(Asked):
    """A member, with the role that it gets."""

    owner: str = Field(
        min_length=1, max_length=200, description="an owner of tokens; *: everybody with a token"
    )
    role: Role = Field(
        "submit",
        description="read: see everything in the project. submit: also add jobs and studies, "
        "and change your own. admin: also change those of others, and the members",
    )

    @field_validator("owner")
    @classmethod
    def _is_plain(cls, text: str) -> str:
        return visible(text)


class MemberRecord(BaseModel):
    """A member of a project."""

    owner: str = Field(description="an owner of tokens; *: everybody with a token")
    role: Role
    added_at: datetime


class ProjectRecord(BaseModel):
    """A project, as the caller sees it."""

    name: str
    note: str
    created_at: datetime
    created_by: Union[str, None]
    role: Role = Field(description="role of the caller")
    jobs: int = Field(description="number of jobs that are not in the trash")
    studies: int
    members: List[MemberRecord]


class ProjectList(BaseModel):
    """Projects, the default one first."""

    projects: List[ProjectRecord]
