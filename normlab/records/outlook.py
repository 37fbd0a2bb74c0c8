"""What lies ahead of a job: its time, its place in the queue, and what would change it."""

from __future__ import annotations

from typing import List, Union

from pydantic import BaseModel, Field


class OutlookRecord(BaseModel):
    """The outlook of a job; of one that has ended, all fields are empty."""

    state: str
    left_s: Union[float, None] = Field(
        None, description="seconds of running that are left, from its pace; null: not known yet"
    )
    left: str = Field("", description="the same in words, with what it is based on")
    ahead: Union[int, None] = Field(
        None, description="queued jobs for its device that come first, or may: owners take turns"
    )
    waiting_for: Union[str, None] = Field(None, description="what a queued job waits for")
    changes: List[str] = Field([], description="what would let it start earlier, or at all")
