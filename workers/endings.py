"""How an attempt ended: from its last event, its exit status, and requests to stop it."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Union

from normlab.errors import JobCancelled, JobTimedOut, OutOfDeviceMemory
from normlab.events import AnyEvent, Failed, Finished

StopReason = Literal["cancelled", "timeout", "drained"]

# Messages that allocators print before they abort, in the last lines of a log.
_ALLOCATOR_SAID = (b"std::bad_alloc", b"DefaultCPUAllocator", b"MemoryError")
_CGROUP_EVENTS = Path("/sys/fs/cgroup/memory.events")
_KERNEL_COUNTERS = Path("/proc/vmstat")


@dataclass(frozen=True)
class Released:
    """The worker interrupted the job: another attempt continues it."""

    message: str


@dataclass(frozen=True)
class FellApart(Released):
    """The job's pack failed, maybe because of another job: this one continues in smaller packs."""

    most: int
    """Members of the next pack; 1: the job alone."""


Ending = Union[Finished, Failed, Released]


def ending_of(
    last_word: AnyEvent | None,
    exit_status: int | None,
    asked: StopReason | None,
    memory_kills: int,
    log_tail: bytes = b"",
) -> Ending:
    """
    Decide how an attempt ended.

    Args:
        last_word: the last event, if it was `finished` or `failed`.
        exit_status: the exit status of the process; negative for a signal, None if unknown.
        asked: the reason why the supervisor asked it to stop, if it did.
        memory_kills: the number of processes that the kernel killed for memory while it ran.
        log_tail: the end of the log.
    """
    if isinstance(last_word, Finished):
        return last_word
    if asked is not None:
        return _stopped(asked)
    if isinstance(last_word, Failed):
        return last_word
    killed_for_memory = exit_status == -signal.SIGKILL and memory_kills > 0
    if killed_for_memory or any(words in log_tail for words in _ALLOCATOR_SAID):
        return Failed.from_error(
            OutOfDeviceMemory(
                "the job process was killed because memory ran out; choose a smaller batch_size "
                "or width (gradient_accumulation keeps the samples per update)"
            )
        )
    return Failed(
        code=PROCESS_LOST,
        failure_kind="lost",
        retryable=True,
        message=f"the job process {_manner(exit_status)} before it reported how the job ended",
    )


HOST_LOST = "host_lost"
PROCESS_LOST = "job_process_lost"


def host_lost(reason: str) -> Failed:
    """Return the end of an attempt on one host whose connection to another host broke."""
    return Failed(
        code=HOST_LOST,
        failure_kind="lost",
        retryable=True,
        message=f"the connection to the replicas on another host broke: {reason}",
    )


def memory_kills() -> int:
    """Count the processes that the kernel has killed for memory, as far as visible here."""
    for source in (_CGROUP_EVENTS, _KERNEL_COUNTERS):
        try:
            lines = source.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _stopped(asked: StopReason) -> Ending:
    if asked == "drained":
        return Released("its worker left the service")
    if asked == "timeout":
        return Failed.from_error(
            JobTimedOut("the job ran longer than its time_limit_s; raise it, then retry the job")
        )
    return Failed.from_error(JobCancelled("the job was cancelled"))


def _manner(exit_status: int | None) -> str:
    if exit_status is None:
        return "vanished"
    if exit_status >= 0:
        return f"ended with status {exit_status}"
    try:
        name = signal.Signals(-exit_status).name
    except ValueError:
        name = f"signal {-exit_status}"
    return f"was killed by {name}"
