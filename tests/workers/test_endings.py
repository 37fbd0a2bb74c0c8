"""The outcome of an attempt."""

from __future__ import annotations

import signal

import pytest

from normlab.errors import JobDrained
from normlab.events import Failed, Finished
from workers.endings import Released, ending_of, memory_kills

FINISHED = Finished(step=3, summary={})
FAILED = Failed(code="loss_not_finite", failure_kind="user", retryable=False, message="nan")


def test_a_finished_job_counts_as_finished_even_after_a_request_to_stop() -> None:
    assert ending_of(FINISHED, 0, "cancelled", 0) is FINISHED
    assert ending_of(FINISHED, -9, None, 1) is FINISHED


def test_a_failure_is_recorded_as_the_job_reports_it() -> None:
    assert ending_of(FAILED, 0, None, 0) is FAILED


def test_a_drained_job_is_queued_again_whether_it_stopped_or_was_killed() -> None:
    stopped = Failed.from_error(JobDrained("its worker leaves"))
    assert isinstance(ending_of(stopped, 0, "drained", 0), Released)
    assert isinstance(ending_of(None, -9, "drained", 0), Released)


@pytest.mark.parametrize(("asked", "kind"), [("cancelled", "cancelled"), ("timeout", "timeout")])
def test_a_stopped_job_ends_as_requested(asked: str, kind: str) -> None:
    ending = ending_of(None, -9, asked, 0)
    assert isinstance(ending, Failed)
    assert (ending.failure_kind, ending.retryable) == (kind, False)


def test_a_killed_process_is_lost_and_retried() -> None:
    ending = ending_of(None, -signal.SIGKILL, None, 0)
    assert isinstance(ending, Failed)
    assert (ending.failure_kind, ending.retryable) == ("lost", True)
    assert "killed by SIGKILL" in ending.message


def test_a_process_that_the_kernel_killed_for_memory_is_out_of_memory() -> None:
    ending = ending_of(None, -signal.SIGKILL, None, 1)
    assert isinstance(ending, Failed)
    assert (ending.failure_kind, ending.retryable) == ("oom", False)


def test_an_abort_after_a_failed_allocation_is_out_of_memory() -> None:
    tail = b"terminate called after throwing an instance of 'std::bad_alloc'\n"
    ending = ending_of(None, -signal.SIGABRT, None, 0, tail)
    assert isinstance(ending, Failed)
    assert ending.failure_kind == "oom"


@pytest.mark.parametrize(
    ("status", "words"),
    [(3, "ended with status 3"), (None, "vanished"), (-120, "killed by signal 120")],
)
def test_the_message_says_how_the_process_ended(status: int | None, words: str) -> None:
    ending = ending_of(None, status, None, 0)
    assert isinstance(ending, Failed)
    assert words in ending.message


def test_the_kernels_count_never_falls() -> None:
    first = memory_kills()
    assert 0 <= first <= memory_kills()
