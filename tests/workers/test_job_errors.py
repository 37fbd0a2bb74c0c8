"""Every error that ends an attempt has a helpful message."""

from __future__ import annotations

import errno

import pytest

from normlab.errors import (
    CheckpointUnusable,
    FieldProblem,
    InvalidSpec,
    JobDrained,
    LossNotFinite,
    OutOfDeviceMemory,
)
from workers.job_errors import describe, log_end


def test_our_own_errors_keep_their_code_and_kind() -> None:
    failed = describe(LossNotFinite("the loss is nan at step 7"), "/jobs/1")
    assert (failed.code, failed.failure_kind) == ("loss_not_finite", "user")
    assert (failed.retryable, failed.message) == (False, "the loss is nan at step 7")


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (OutOfDeviceMemory("no"), "out_of_device_memory", False),
        (CheckpointUnusable("no"), "checkpoint_unusable", False),
        (JobDrained("no"), "job_drained", True),
    ],
)
def test_the_error_decides_whether_a_retry_may_help(
    error: Exception, code: str, retryable: bool
) -> None:
    failed = describe(error, "/jobs/1")
    assert (failed.code, failed.retryable) == (code, retryable)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_names_the_folder_and_may_be_retried(number: int) -> None:
    failed = describe(OSError(number, "No space left on device"), "/data/jobs/1")
    assert (failed.code, failed.failure_kind) == ("storage_full", "storage")
    assert failed.retryable
    assert "/data/jobs/1" in failed.message


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("can't start new thread"),
    ],
)
def test_a_job_out_of_memory_is_never_retried_unchanged(error: Exception) -> None:
    failed = describe(error, "/jobs/1")
    assert (failed.failure_kind, failed.retryable) == ("oom", False)
    assert "batch_size" in failed.message


def test_a_spec_that_cannot_be_run_lists_its_problems() -> None:
    error = InvalidSpec("no such job", [FieldProblem("batch_size", "at most 1000, got 2000")])
    failed = describe(error, "/jobs/1")
    assert (failed.code, failed.failure_kind) == ("invalid_spec", "user")
    assert "batch_size: at most 1000, got 2000" in failed.message


def test_an_unexpected_error_points_to_the_log() -> None:
    failed = describe(KeyError("weight"), "/jobs/1")
    assert (failed.code, failed.retryable) == ("unexpected", False)
    assert failed.message == "KeyError: 'weight'; the job's log has the traceback"


def test_a_long_message_is_cut_to_its_first_line() -> None:
    failed = describe(RuntimeError("shapes differ\n" + "frame\n" * 1000), "/jobs/1")
    assert failed.message.startswith("RuntimeError: shapes differ; ")


def test_a_stop_that_was_asked_for_is_a_line_of_the_log_and_another_end_a_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for error in (JobDrained("the worker is stopping"), KeyError("weight")):
        try:
            raise error
        except BaseException as e:
            log_end(e)
    log = capsys.readouterr().err
    assert log.startswith("stopped: the worker is stopping\nTraceback")
    assert log.endswith("KeyError: 'weight'\n")
