"""The results of a job: series, findings of diagnostics, files, its log."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Union

from pydantic import BaseModel, Field

from normlab.not_finite import DESCRIPTION, Places


class LastValue(BaseModel):
    """The last value of a metric, and its extremes."""

    step: int
    value: Union[float, None] = Field(description="null if it is NaN or infinite")
    min: Union[float, None] = Field(description="null if it is infinite, or if all values are NaN")
    max: Union[float, None]
    not_finite: Places = Field({}, description=DESCRIPTION)

    def number(self, of: str = "value") -> float:
        """Return `value`, `min` or `max`; NaN for null of a server that does not say what it is."""
        found = getattr(self, of)
        if found is not None:
            return float(found)
        return float(self.not_finite.get(f"/{of}", math.nan))


class SeriesRecord(BaseModel):
    """One metric of a job as columns: every point, or buckets of steps."""

    name: str
    steps: List[int] = Field(description="step of each point, or the first step of each bucket")
    values: List[Union[float, None]] = Field(
        description="value of each point, or mean of each bucket; null if it is NaN or infinite"
    )
    min: Union[List[Union[float, None]], None] = Field(
        None, description="smallest value of each bucket"
    )
    max: Union[List[Union[float, None]], None] = Field(
        None, description="largest value of each bucket"
    )
    times: List[float] = Field(
        description="times of the points, in seconds since 1970; empty if they were not requested"
    )
    points: int = Field(description="number of stored points in the requested range")
    last: Union[LastValue, None] = Field(
        None, description="the last value of the metric, whatever range was requested"
    )
    not_finite: Places = Field({}, description=DESCRIPTION)

    def numbers(self) -> List[float]:
        """Return the values with NaN and infinity in place of null."""
        return [
            float(self.not_finite.get(f"/values/{i}", math.nan)) if value is None else value
            for i, value in enumerate(self.values)
        ]


class DiagnosticRecord(BaseModel):
    """The finding of a diagnostic at one step that is not a series."""

    name: str
    step: int
    record: Dict[str, Any] = Field(
        description="what was found; numbers that are NaN or infinite are null, and its field "
        "`not_finite` says which"
    )


class ArtifactRecord(BaseModel):
    """A file of a job."""

    name: str
    kind: str = Field(description="kind of the file: checkpoint, weights, log or table")
    attempt: int
    bytes: int
    sha256: str
    step: Union[int, None]


class LogPage(BaseModel):
    """A piece of a job's log."""

    offset: int = Field(description="where the piece begins, in bytes")
    next_offset: int = Field(description="where the next piece begins, in bytes")
    text: str = Field(description="the text as UTF-8, with other bytes replaced")
    ended: bool = Field(
        description="whether nothing will follow, because the job has ended and this is the end"
    )
