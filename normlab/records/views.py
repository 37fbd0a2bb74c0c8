"""Saved views: what somebody chose to see of the table of jobs."""

from __future__ import annotations

from datetime import datetime
from typing import List, Union

from pydantic import BaseModel, ConfigDict, Field

from normlab.records.tables import MOST_COLUMNS, ColumnName
from normlab.specs.base import Label


class ViewContent(BaseModel):
    """The columns in their order, the pinned ones, the order of rows, the filter, the grouping."""

    model_config = ConfigDict(extra="forbid")

    columns: List[ColumnName] = Field(min_length=1, max_length=MOST_COLUMNS)
    pinned: List[ColumnName] = Field([], max_length=MOST_COLUMNS)
    sort: ColumnName = "-created_at"
    filter: Union[str, None] = Field(None, max_length=2000)
    grouped: bool = Field(False, description="over seeds")


class NewView(BaseModel):
    """A view to save under a name."""

    model_config = ConfigDict(extra="forbid")

    name: Label = Field(min_length=1, max_length=100)
    content: ViewContent


class ViewRecord(BaseModel):
    """A saved view; anybody who may read jobs can open it, its owner can change it."""

    id: str
    owner: str
    name: str
    content: ViewContent
    changed_at: datetime


class ViewList(BaseModel):
    """The views of one owner, by name."""

    views: List[ViewRecord]
