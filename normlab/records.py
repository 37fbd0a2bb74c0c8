"""What the service says of jobs: the records that the API sends and the client reads."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, List, Literal, Union

from pydantic import Field

from normlab.record import Record as Record
from normlab.result_records import ComparisonRow as ComparisonRow
from normlab.result_records import ComparisonTable as ComparisonTable
from normlab.result_records import ResultRow as ResultRow
from normlab.result_records import ResultTable as ResultTable
from normlab.specs.jobs import JobSpec
from normlab.specs.options import OptionRecord
from normlab.specs.studies import StudySpec

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED: tuple[JobState, ...] = ("succeeded", "failed", "cancelled")


class LastValue(Record):
    """Where a metric stands."""

    step: int
    value: Union[float, None] = Field(description="null where it is not a finite number")
    min: Union[float, None]
    max: Union[float, None]


class JobError(Record):
    """Why a job failed."""

    code: str
    failure_kind: str
    message: str


class JobRecord(Record):
    """A job as lists show it."""

    id: str
    name: Union[str, None]
    owner: str
    state: JobState
    normalizer: str
    proxy: bool
    model: str
    dataset: str
    batch_size: int
    samples_per_update: int
    seed: int
    device: str = Field(description="the kind of device that was chosen")
    device_reason: str
    runtime: Union[str, None] = Field(description="what ran it, once it has started")
    timing_valid: bool = Field(description="false where speed is that of an emulation")
    priority: int
    attempt: int = Field(description="attempts begun")
    max_attempts: int
    step: int
    steps: Union[int, None] = Field(description="updates in all, once known")
    epoch: int
    epochs: int
    created_at: datetime
    started_at: Union[datetime, None]
    finished_at: Union[datetime, None]
    worker: Union[str, None]
    waiting_for: Union[str, None] = Field(description="what a queued job waits for")
    cancel_requested: bool
    error: Union[JobError, None]
    study: Union[str, None]
    fingerprint: str
    last: Dict[str, LastValue]


class AttemptRecord(Record):
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


class JobDetail(JobRecord):
    """A job with its specification and its history."""

    spec: JobSpec
    attempts: List[AttemptRecord]


class JobPage(Record):
    """Some jobs, and the cursor of the next page."""

    jobs: List[JobRecord]
    next_cursor: Union[str, None]


class JobCreated(Record):
    """A job was accepted."""

    id: str
    state: JobState
    device: str
    device_reason: str
    samples_per_update: int


class SeriesRecord(Record):
    """One metric of a job as columns: every point, or buckets of steps."""

    name: str
    steps: List[int] = Field(description="of each point, or the first step of each bucket")
    values: List[Union[float, None]] = Field(description="of each point, or each bucket's mean")
    min: Union[List[Union[float, None]], None] = Field(None, description="buckets only")
    max: Union[List[Union[float, None]], None] = Field(None, description="buckets only")
    times: List[float] = Field(description="seconds since the epoch")
    points: int = Field(description="points stored in the range that was asked for")
    last: Union[LastValue, None] = Field(
        None, description="where the metric stands, whatever range was asked for"
    )


class EventRecord(Record):
    """Something that happened to a job."""

    seq: int
    job: str
    kind: str
    at: datetime
    payload: Dict[str, Any]


class ArtifactRecord(Record):
    """A file that a job left."""

    name: str
    kind: str = Field(description="checkpoint, weights, log, table")
    attempt: int
    bytes: int
    sha256: str
    step: Union[int, None]


class WorkerRecord(Record):
    """A live worker."""

    id: str
    device: str
    hostname: str
    slots: int
    busy: int
    description: str = Field(description="the device's own name")
    memory_bytes: Union[int, None]
    versions: Dict[str, str]
    able: bool = Field(True, description="whether its host has the device itself")
    why: str = Field("", description="what its host says of the device")
    last_seen_s: float = Field(description="seconds since its last heartbeat")


class DeviceRecord(Record):
    """A kind of device and the workers that serve it."""

    kind: str
    available: bool
    reason: str
    queued: int
    running: int
    normalizers: List[str] = Field(description="kinds that it trains")
    precisions: List[str]
    replicas: str = Field(description="what each replica of a job takes, and how they talk")
    workers: List[WorkerRecord]


class Verdict(Record):
    """Whether one device would take a job, and why."""

    device: str
    accepted: bool
    reason: str


class Validation(Record):
    """A dry run: what would be run, where, and how large it is."""

    spec: JobSpec
    device: str
    device_reason: str
    verdicts: List[Verdict]
    samples_per_update: int
    steps: Union[int, None]
    parameters: Union[int, None]
    memory_bytes: Union[int, None] = Field(description="estimated peak of the training process")
    estimated_s: Union[float, None] = Field(None, description="estimated running time")
    estimate: str = Field("", description="the running time in words, and what it is known from")
    queue_position: int
    fingerprint: str


class NormalizerRecord(Record):
    """A kind of normalizer: what it is, where it comes from, and every option."""

    kind: str
    title: str
    summary: str
    source: str
    acts_on: str = Field(description="activations, weights or nothing")
    takes_proxy: bool
    batch_dependent: bool = Field(description="a sample's output depends on the rest of its batch")
    stateful: bool = Field(description="it keeps state that changes while training")
    channelwise: bool = Field(description="every channel ends with mean 0 and variance 1")
    keeps_expressivity: bool = Field(description="no statistic of a sample is lost")
    runs_on_ipu: bool
    ipu_reason: str
    options: List[OptionRecord]


class ModelRecord(Record):
    """A network that jobs can name."""

    name: str
    summary: str
    task: str = Field(description="what it predicts; a job's dataset has the same")
    default_width: int
    min_image_size: int
    normalizers: int = Field(description="places where a normalizer stands")
    channels: List[int] = Field(description="distinct channel counts at the default width")


class DatasetRecord(Record):
    """A dataset that jobs can name; null where only its files can tell."""

    name: str
    summary: str
    task: str = Field(description="what is to be predicted; a job's model has the same")
    num_classes: Union[int, None]
    channels: int
    image_size: Union[int, None]
    train_size: Union[int, None]
    test_size: Union[int, None]
    available: bool = Field(
        description="every file lies under the operator's data root and is whole"
    )
    missing: List[str] = Field(
        description="files to put there, relative to the data root; in "
        "parentheses, what is wrong with one that is there"
    )


class DiagnosticRecord(Record):
    """What a diagnostic found at one step, where it is no plain series."""

    name: str
    step: int
    record: Dict[str, Any]


class DiagnosticKindRecord(Record):
    """A diagnostic that jobs can ask for."""

    name: str
    summary: str
    when: str
    metrics: str = Field(description="where it reports")
    cost: str
    source: str


class LogPage(Record):
    """A piece of a job's log."""

    offset: int = Field(description="where the piece begins, in bytes")
    next_offset: int = Field(description="where to go on")
    text: str = Field(description="UTF-8; bytes that are none are replaced")
    ended: bool = Field(description="nothing will follow: the job has ended and this is the end")


class CellRecord(Record):
    """One cell of a study, and the job that fills it."""

    key: str
    coordinates: Dict[str, Any]
    seed: int
    job: Union[str, None]
    state: str = Field(description="of its job, or missing")
    reused: bool = Field(description="its job belongs to another study, or to none")


class StudyRecord(Record):
    """A study as lists show it."""

    id: str
    name: str
    owner: str
    state: str = Field(
        description="active, paused, cancelled, failed, or complete: every cell succeeded"
    )
    created_at: datetime
    cells: int
    counts: Dict[str, int] = Field(description="cells by the state of their jobs")
    reused: int
    paths: List[str] = Field(description="what varies besides the seed")
    reason: Union[str, None] = Field(None, description="why it failed, or does not go on now")


class StudyDetail(StudyRecord):
    """A study with its specification and cells."""

    spec: StudySpec
    grid: List[CellRecord]


class StudyPage(Record):
    """Some studies, and the cursor of the next page."""

    studies: List[StudyRecord]
    next_cursor: Union[str, None]


class Refusal(Record):
    """Cells that would be refused, and why."""

    coordinates: Dict[str, Any]
    problems: List[Dict[str, str]]


class DecisionCost(Record):
    """What deciding costs: the first look alone, and all looks up to the limit."""

    comparisons: int
    least_cells: int = Field(description="of those that are compared, with the seeds of one look")
    least_epochs: int
    least_s: Union[float, None]
    least_estimate: str
    most_cells: int = Field(description="with `at_most` seeds")
    most_epochs: int
    most_s: Union[float, None]
    most_estimate: str
    largest_sd: float = Field(
        description="of the differences, at which an effect of `by` shows with the power asked for"
    )


class StudyPreview(Record):
    """What a study would run, before anything does."""

    cells: int
    excluded: int = Field(description="combinations that a rule of `exclude` leaves out")
    identical: int = Field(description="combinations that compute what another cell computes")
    reusable: int = Field(description="cells that other jobs of this owner have filled")
    priority: int
    epochs: int = Field(description="of all cells that would run")
    steps: Union[int, None]
    estimated_s: Union[float, None] = Field(
        description="running time of all cells one after another; null where nobody knows"
    )
    estimated_from: str = Field(description="what is known of the time, and from where")
    estimate: str = Field("", description="both in words")
    decision: Union[DecisionCost, None] = Field(None, description="of a study that decides")
    refused: List[Refusal]
    first: List[CellRecord] = Field(
        description="the first cells, as an example; a reused one with the job that filled it"
    )
