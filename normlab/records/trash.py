"""Records of the trash and of disk use."""

from __future__ import annotations

from datetime import datetime
from typing import List, Union

from pydantic import BaseModel, Field


class TrashRecord(BaseModel):
    """What an owner has in the trash."""

    jobs: int
    studies: int
    bytes: int = Field(description="of the files, curves and logs of these jobs")
    oldest: Union[datetime, None] = Field(description="when the first of these jobs was deleted")
    days: int = Field(description="after which a deleted job or study is purged")


class OwnerUsage(BaseModel):
    """What one owner's jobs store."""

    owner: str
    jobs: int
    bytes: int = Field(description="of files (checkpoints, weights, tables), curves and logs")
    trashed_bytes: int = Field(description="of those in the trash")


class Usage(BaseModel):
    """The disk use of all owners."""

    owners: List[OwnerUsage] = Field(description="largest first")
