"""Records of jobs and their events."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, List, Literal, Union

from pydantic import BaseModel, Field

from normlab.records.as_html import job_facts
from normlab.records.findings import LastValue
from normlab.specs.jobs import AcceptedSpec

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED: tuple[JobState, ...] = ("succeeded", "failed", "cancelled")


class ErrorRecord(BaseModel):
    """Why a job failed."""

    code: str
    failure_kind: str
    message: str


class JobRecord(BaseModel):
    """A job as in lists."""

    id: str
    name: Union[str, None]
    owner: str
    project: str = "default"
    state: JobState
    normalizer: str
    proxy: bool
    model: str
    dataset: str
    batch_size: int
    samples_per_update: int
    hosts: int = Field(1, description="number of hosts that share the replicas")
    seed: int
    device: str = Field(description="the kind of device that was chosen")
    device_reason: str
    runtime: Union[str, None] = Field(description="what runs it; null before it has started")
    timing_valid: bool = Field(
        description="whether its times are those of the job on the device; false for an "
        "emulation or a pack of jobs"
    )
    packed: Union[int, None] = Field(
        None, description="number of jobs in its pack, itself included; null: it was trained alone"
    )
    priority: int
    attempt: int = Field(description="number of attempts that have begun")
    max_attempts: int
    step: int
    steps: Union[int, None] = Field(
        description="total number of updates; null if it is not known yet"
    )
    epoch: int
    epochs: int
    created_at: datetime
    started_at: Union[datetime, None]
    finished_at: Union[datetime, None]
    trashed_at: Union[datetime, None] = Field(None, description="since when it is in the trash")
    worker: Union[str, None]
    waiting_for: Union[str, None] = Field(description="what a queued job waits for")
    cancel_requested: bool
    error: Union[ErrorRecord, None]
    study: Union[str, None]
    fingerprint: str
    last: Dict[str, LastValue]
    note: Union[str, None] = None
    tags: List[str] = []
    archived_at: Union[datetime, None] = Field(None, description="since when lists do not show it")

    def _repr_html_(self) -> str:
        return job_facts(self)


class HostRecord(BaseModel):
    """One of the hosts of an attempt: its worker, and its address for the other hosts."""

    worker: str
    address: str


class AttemptRecord(BaseModel):
    """One attempt at a job."""

    number: int
    worker: str
    started_at: datetime
    ended_at: Union[datetime, None]
    outcome: Union[str, None] = Field(description="succeeded, failed, lost, released, cancelled")
    failure_kind: Union[str, None]
    message: Union[str, None]
    resumed_from_step: int
    environment: Dict[str, Any]
    hosts: List[HostRecord] = Field([], description="empty if the job has one host")

    @property
    def where(self) -> str:
        """Its worker, or the workers of all its hosts with their addresses."""
        if not self.hosts:
            return self.worker
        return ", ".join(f"{host.worker} ({host.address})" for host in self.hosts)


class JobDetail(JobRecord):
    """A job with its specification and its history."""

    spec: AcceptedSpec
    attempts: List[AttemptRecord]


class JobPage(BaseModel):
    """Some jobs, and the cursor of the next page."""

    jobs: List[JobRecord]
    next_cursor: Union[str, None]


class JobCreated(BaseModel):
    """A job was accepted."""

    id: str
    state: JobState
    device: str
    device_reason: str
    samples_per_update: int


class EventRecord(BaseModel):
    """Something that happened to a job."""

    seq: int
    job: str
    kind: str
    at: datetime
    payload: Dict[str, Any]


class Verdict(BaseModel):
    """Whether one device would take a job, and why."""

    device: str
    accepted: bool
    reason: str


class UnderWay(BaseModel):
    """The result takes a while and is not known yet; a repeated request gets it."""

    status: Literal["under_way"] = "under_way"
    detail: str


class Validation(BaseModel):
    """A dry run: what would be run, where, and how large it is."""

    spec: AcceptedSpec
    device: str
    device_reason: str
    verdicts: List[Verdict]
    samples_per_update: int
    steps: Union[int, None]
    parameters: Union[int, None]
    conversion: str = Field(
        "", description="what is done with the normalizers of a network of another library"
    )
    memory_bytes: Union[int, None] = Field(
        description="estimated peak memory of the training process"
    )
    estimated_s: Union[float, None] = Field(None, description="estimated running time")
    estimate: str = Field(
        "", description="the running time in words, with the source of the estimate"
    )
    queue_position: int
    fingerprint: str


class OutlookRecord(BaseModel):
    """The outlook of a job; of one that has ended, all fields are empty."""

    state: str
    left_s: Union[float, None] = Field(
        None,
        description="remaining seconds of running, estimated from its pace; null: not known yet",
    )
    left: str = Field("", description="the same in words, with the source of the estimate")
    ahead: Union[int, None] = Field(
        None,
        description="number of queued jobs for its device that come first, or may come first, "
        "because owners take turns",
    )
    waiting_for: Union[str, None] = Field(None, description="what a queued job waits for")
    changes: List[str] = Field([], description="changes that would let it start earlier, or at all")
