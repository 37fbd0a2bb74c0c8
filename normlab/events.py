"""The events from a running job to its supervisor: one JSON object per line, on a pipe."""

from __future__ import annotations

from typing import Any, Dict, List, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import Annotated

from normlab.errors import JobError


class Event(BaseModel):
    """The root of all records; NaN and infinity travel as JSON constants."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    def to_line(self) -> bytes:
        """Encode as one line of JSON, newline included."""
        return self.model_dump_json().encode() + b"\n"


class Started(Event):
    """The attempt has started: its device, versions, and the step from which it resumed."""

    type: Literal["started"] = "started"
    step: int = Field(description="updates done before this attempt; 0: it begins from scratch")
    environment: Dict[str, Any]


class Series(BaseModel):
    """Points of one metric, as columns."""

    # The setting of the root class does not apply to nested records.
    model_config = ConfigDict(ser_json_inf_nan="constants")

    steps: List[int]
    values: List[float]
    times: List[float] = Field(description="seconds since the epoch")


class Metrics(Event):
    """A batch of points: metric name to columns."""

    type: Literal["metrics"] = "metrics"
    series: Dict[str, Series]


class Progress(Event):
    """The progress of the job."""

    type: Literal["progress"] = "progress"
    step: int
    steps: int
    epoch: int
    epochs: int


class CheckpointWritten(Event):
    """A checkpoint is complete on disk, and every metric up to its step was sent before."""

    type: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str
    sha256: str
    bytes: int


class ArtifactWritten(Event):
    """The job has written a file that people may download."""

    type: Literal["artifact"] = "artifact"
    name: str
    path: str
    sha256: str
    bytes: int


class Diagnostic(Event):
    """A diagnostic's record that is not a series, such as a table or a distribution."""

    type: Literal["diagnostic"] = "diagnostic"
    name: str
    step: int
    record: Dict[str, Any]


class MeetingOpened(Event):
    """The first host of a job waits for the others at this address and port."""

    type: Literal["meeting"] = "meeting"
    endpoint: str


class Finished(Event):
    """The training succeeded."""

    type: Literal["finished"] = "finished"
    step: int
    summary: Dict[str, Any]


class Failed(Event):
    """The attempt ended with an error."""

    type: Literal["failed"] = "failed"
    code: str
    failure_kind: str
    retryable: bool
    message: str
    cannot_load: str = Field("", description="the digest of a plugin that this Python cannot load")

    @classmethod
    def from_error(cls, error: JobError) -> Failed:
        """Describe *error* for the supervisor."""
        return cls(
            code=error.code,
            failure_kind=error.failure_kind,
            retryable=error.retryable,
            message=str(error),
        )


AnyEvent = Annotated[
    Union[
        Started,
        Metrics,
        Progress,
        CheckpointWritten,
        ArtifactWritten,
        Diagnostic,
        MeetingOpened,
        Finished,
        Failed,
    ],
    Field(discriminator="type"),
]
_adapter: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


def from_line(line: bytes) -> AnyEvent:
    """Decode one line; raise pydantic's ValidationError if it is not a record."""
    return _adapter.validate_json(line)
