"""Records of keep-rules, of the trash, and of disk use."""

from __future__ import annotations

from datetime import datetime
from typing import List, Literal, Union

from pydantic import BaseModel, Field

from normlab.records.access import Asked

Then = Literal["last_and_best", "last", "none"]
Goal = Literal["maximize", "minimize"]
Expiring = Literal["checkpoint", "weights", "log"]
_Days = Union[int, None]
_LONGEST = 36_500


class KeepRequest(Asked):
    """
    Changes to what a project keeps.

    A field that is left out stays as it is, and null for a number of days keeps everything.
    """

    checkpoints_days: _Days = Field(
        None,
        ge=0,
        le=_LONGEST,
        description="days after a job's end for which all its checkpoints stay",
    )
    checkpoints_then: Then = Field("last_and_best", description="which checkpoints stay longer")
    best_by: str = Field(
        "val/accuracy",
        min_length=1,
        max_length=200,
        description="the metric by which the best checkpoint is chosen",
    )
    goal: Goal = Field(
        "maximize", description="whether the largest or the smallest value is the best"
    )
    weights_days: _Days = Field(
        None,
        ge=0,
        le=_LONGEST,
        description="days after a job's end for which its final weights stay",
    )
    logs_days: _Days = Field(
        None, ge=0, le=_LONGEST, description="days after a job's end for which its log stays"
    )


class KeepRules(BaseModel):
    """The keep-rules of a project; null: for ever."""

    project: str
    checkpoints_days: _Days
    checkpoints_then: Then
    best_by: str
    goal: Goal
    weights_days: _Days
    logs_days: _Days


class ExpiredRecord(BaseModel):
    """The files of one job and kind that the rules no longer keep."""

    job: str
    kind: Expiring
    files: List[str] = Field(description="names of the files; empty for the log in the database")
    bytes: int


class ExpiredPage(BaseModel):
    """Files that are to be removed, or were; jobs that ended first come first."""

    project: str
    expired: List[ExpiredRecord]
    next_cursor: Union[str, None] = Field(
        description="cursor of the next jobs; null: there are no more"
    )


class TrashRecord(BaseModel):
    """An owner's jobs and studies in the trash."""

    jobs: int
    studies: int
    bytes: int = Field(description="size of the files, curves and logs of these jobs")
    oldest: Union[datetime, None] = Field(description="when the first of these jobs was deleted")
    days: int = Field(description="days after which a deleted job or study is purged")


class OwnerUsage(BaseModel):
    """The storage of one owner's jobs."""

    owner: str
    jobs: int
    bytes: int = Field(description="size of files (checkpoints, weights, tables), curves and logs")
    trashed_bytes: int = Field(description="size of those in the trash")


class Usage(BaseModel):
    """The disk use of all owners."""

    owners: List[OwnerUsage] = Field(description="owners, the largest first")
