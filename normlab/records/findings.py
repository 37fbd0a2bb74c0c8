"""The results of a job: series, findings of diagnostics, files, its log."""

from __future__ import annotations

from typing import Any, Dict, List, Union

from pydantic import BaseModel, Field


class LastValue(BaseModel):
    """The last value of a metric, and its extremes."""

    step: int
    value: Union[float, None] = Field(description="null if it is not a finite number")
    min: Union[float, None]
    max: Union[float, None]


class SeriesRecord(BaseModel):
    """One metric of a job as columns: every point, or buckets of steps."""

    name: str
    steps: List[int] = Field(description="of each point, or the first step of each bucket")
    values: List[Union[float, None]] = Field(description="of each point, or each bucket's mean")
    min: Union[List[Union[float, None]], None] = Field(None, description="buckets only")
    max: Union[List[Union[float, None]], None] = Field(None, description="buckets only")
    times: List[float] = Field(description="seconds since the epoch; empty if not asked for")
    points: int = Field(description="number of stored points in the requested range")
    last: Union[LastValue, None] = Field(
        None, description="the last value of the metric, for any requested range"
    )


class DiagnosticRecord(BaseModel):
    """The finding of a diagnostic at one step that is not a series."""

    name: str
    step: int
    record: Dict[str, Any]


class ArtifactRecord(BaseModel):
    """A file of a job."""

    name: str
    kind: str = Field(description="checkpoint, weights, log, table")
    attempt: int
    bytes: int
    sha256: str
    step: Union[int, None]


class LogPage(BaseModel):
    """A piece of a job's log."""

    offset: int = Field(description="where the piece begins, in bytes")
    next_offset: int = Field(description="where to continue")
    text: str = Field(description="UTF-8; other bytes are replaced")
    ended: bool = Field(description="nothing will follow: the job has ended and this is the end")
