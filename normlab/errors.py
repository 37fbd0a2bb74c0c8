"""Every error that normlab raises, as one tree.

    NormlabError
    ├── InvalidSpec            the request is invalid; change it
    │   ├── IdempotencyReuse   an idempotency key was used with another body
    │   └── FilterTooCostly    a filter asks for more than a list may cost
    ├── NotFound               no such job, study, artifact or dataset
    ├── Conflict               the thing exists, but its state forbids this
    ├── Unauthorized           no token, or an unknown one
    │   └── Forbidden          a known token that does not allow this
    ├── QuotaExceeded          more than one owner may have; try later
    │   ├── TooBusy            too many costly reads at once; try later
    │   ├── TooManyRequests    more requests than a token may make; wait
    │   └── ReadTimedOut       the request takes longer than a read may
    ├── ServiceUnavailable     a server that we need does not answer; try later
    └── JobError               a job's attempt ended; `failure_kind` says why
        ├── DatasetUnusable    files are missing, truncated or of another format
        ├── ReaderLost         a process that reads the data died; try again
        ├── PackFellApart      its pack cannot continue; it continues alone
        ├── LossNotFinite      the loss became NaN or infinite
        ├── CheckpointUnusable a checkpoint is corrupt, or of another spec
        ├── StorageFull        no space left where results are written
        ├── StorageAway        the bucket of results did not answer for too long
        ├── JobStopped         somebody asked the job to stop
        │   ├── JobCancelled   its owner does not want it any more
        │   ├── JobTimedOut    its time limit passed
        │   └── JobDrained     its worker leaves; another attempt continues
        └── DeviceError        the accelerator failed
            ├── DeviceUnavailable   missing or taken
            ├── OutOfDeviceMemory   the job does not fit
            └── UnsupportedModel    the device cannot run this model

Each class corresponds to a way of handling it. `code` is its stable name on the
wire, `retryable` tells a worker whether another attempt may help.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Iterable, Sequence


@dataclass(frozen=True)
class FieldProblem:
    """A field that is wrong: its name, and the rule that it breaks, with the way out."""

    field: str
    rule: str

    def __str__(self) -> str:
        """Return the field and its rule."""
        return f"{self.field}: {self.rule}"


def told(problems: Iterable[FieldProblem]) -> str:
    """Join *problems* on one line."""
    return "; ".join(str(problem) for problem in problems)


class NormlabError(Exception):
    """The root: catch it to catch everything that normlab raises on purpose."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False


class InvalidSpec(NormlabError, ValueError):
    """The request breaks a rule; *problems* name each field and its rule."""

    code = "invalid_spec"

    def __init__(self, message: str, problems: Sequence[FieldProblem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)

    @classmethod
    def of(cls, problems: Sequence[FieldProblem]) -> InvalidSpec:
        """Return the error whose message is its *problems*."""
        return cls(told(problems), problems)


def refuse(problems: Sequence[FieldProblem]) -> None:
    """Raise InvalidSpec if there are *problems*."""
    if problems:
        raise InvalidSpec.of(problems)


class IdempotencyReuse(InvalidSpec):
    """An idempotency key was used before with another body."""

    code = "idempotency_key_reused"


class FilterTooCostly(InvalidSpec):
    """A filter has more terms, patterns or metrics than a list may cost."""

    code = "filter_too_costly"


class NotFound(NormlabError, LookupError):
    """There is nothing with this name."""

    code = "not_found"


class Conflict(NormlabError):
    """The state of the thing does not allow what was asked."""

    code = "conflict"


class Unauthorized(NormlabError):
    """The token is missing or unknown."""

    code = "unauthorized"


class Forbidden(Unauthorized):
    """The token is known, but its scopes or its owner do not allow this."""

    code = "forbidden"


class QuotaExceeded(NormlabError):
    """The owner has as many jobs queued, or requests in progress, as the service allows."""

    code = "quota_exceeded"
    retryable = True


class TooBusy(QuotaExceeded):
    """The limit of concurrent costly reads is reached; try again."""

    code = "too_busy"


class TooManyRequests(QuotaExceeded):
    """A token makes more requests than it may; *wait_s* says when there is room for another."""

    code = "too_many_requests"

    def __init__(self, message: str, wait_s: int = 5) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class ReadTimedOut(QuotaExceeded):
    """The request takes longer than a read may; ask for less."""

    code = "read_timed_out"


class ServiceUnavailable(NormlabError):
    """A server that is needed does not answer."""

    code = "service_unavailable"
    retryable = True


class JobError(NormlabError):
    """An attempt at a job ended without success."""

    code = "job_failed"
    failure_kind: ClassVar[str] = "user"


class DatasetUnusable(JobError):
    """The dataset's files are missing, truncated, or of another format."""

    code = "dataset_unusable"


class ReaderLost(JobError):
    """A process that reads the data died, for example for want of memory."""

    code = "reader_lost"
    retryable = True
    failure_kind = "lost"


class PackFellApart(JobError):
    """The jobs of a pack cannot continue together; each continues alone."""

    code = "pack_fell_apart"
    retryable = True
    failure_kind = "lost"


class LossNotFinite(JobError):
    """The loss became NaN or infinite, so nothing more can be learnt."""

    code = "loss_not_finite"


class CheckpointUnusable(JobError):
    """The checkpoint is corrupt, or was written by a job with another spec."""

    code = "checkpoint_unusable"


class StorageFull(JobError):
    """No space is left where checkpoints and results are written."""

    code = "storage_full"
    retryable = True
    failure_kind = "storage"


class StorageAway(JobError):
    """The bucket that results are stored in did not answer for too long."""

    code = "storage_away"
    retryable = True
    failure_kind = "storage"


class JobStopped(JobError):
    """Somebody asked the job to stop, and it did."""

    code = "job_stopped"


class JobCancelled(JobStopped):
    """Its owner cancelled the job."""

    code = "job_cancelled"
    failure_kind = "cancelled"


class JobTimedOut(JobStopped):
    """The job's `time_limit_s` passed."""

    code = "job_timed_out"
    failure_kind = "timeout"


class JobDrained(JobStopped):
    """Its worker is leaving; the job continues in another attempt."""

    code = "job_drained"
    retryable = True
    failure_kind = "lost"


class DeviceError(JobError):
    """The accelerator failed; another attempt may succeed."""

    code = "device_error"
    retryable = True
    failure_kind = "device"


class DeviceUnavailable(DeviceError):
    """The accelerator is missing or taken."""

    code = "device_unavailable"


class OutOfDeviceMemory(DeviceError):
    """The job does not fit into the device's memory, so it is not tried again."""

    code = "out_of_device_memory"
    retryable = False
    failure_kind = "oom"


class UnsupportedModel(DeviceError):
    """The device cannot run this model; another device can."""

    code = "unsupported_model"
    retryable = False
    failure_kind = "user"
