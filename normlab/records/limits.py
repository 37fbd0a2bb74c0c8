"""Records of the limits of owners and projects, with their use."""

from __future__ import annotations

from typing import List, Literal, Union

from pydantic import BaseModel, Field

from normlab.records.access import Asked

Subject = Literal["owner", "project"]
EACH = "*"
"""Stands for each owner, or each project, without a limit of its own."""
_Most = Union[int, None]


class LimitRequest(Asked):
    """
    New limits of one owner or project.

    A field that is left out keeps its limit, and null takes it away.
    """

    subject: Subject
    name: str = Field(
        min_length=1,
        max_length=200,
        description="the name; *: each owner or project without a limit of its own",
    )
    queued: _Most = Field(None, ge=0, le=10_000_000, description="largest number of waiting jobs")
    running: _Most = Field(
        None, ge=0, le=1_000_000, description="largest number of jobs that run at the same time"
    )
    devices: _Most = Field(
        None,
        ge=0,
        le=1_000_000,
        description="largest number of devices in use at the same time, counted as replicas "
        "of its jobs",
    )
    device_hours_per_month: _Most = Field(
        None,
        ge=0,
        le=10_000_000,
        description="largest number of device hours of its attempts in a calendar month, in UTC",
    )
    storage_bytes: _Most = Field(
        None, ge=0, le=2**60, description="largest size of its jobs' files, curves and logs"
    )
    priority: _Most = Field(
        None, ge=-100, le=100, description="highest priority that a job or study may ask for"
    )
    requests_per_minute: _Most = Field(
        None,
        ge=1,
        le=1_000_000,
        description="largest number of requests with one token in a minute; only for owners",
    )


class LimitRecord(BaseModel):
    """One limit, with its use."""

    subject: Subject
    name: str
    what: Literal[
        "queued", "running", "devices", "device_hours_per_month", "storage_bytes", "priority",
        "requests_per_minute",
    ]  # fmt: skip
    most: Union[int, None] = Field(description="the limit; null: no limit")
    used: Union[int, float, None] = Field(
        description="what is used now; null if it is not counted here"
    )
    source: str = Field(description="where the limit comes from: the name, * for each, or service")


class LimitList(BaseModel):
    """The limits of one owner or project."""

    limits: List[LimitRecord]
