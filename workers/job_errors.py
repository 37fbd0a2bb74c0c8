"""Convert errors that end an attempt into a `Failed` record that tells people what to do."""

from __future__ import annotations

import sys
import traceback

from normlab.errors import InvalidSpec, JobError, JobStopped, OutOfDeviceMemory, StorageFull
from normlab.events import Failed
from normlab.host.disks import is_full

# A plain RuntimeError: torch's when the host's allocator fails, Python's for a thread's stack.
_ALLOCATOR_SAYS = (
    "can't allocate memory", "not enough memory", "out of memory", "bad_alloc",
    "can't start new thread",
)  # fmt: skip


class CannotLoad(InvalidSpec):
    """This Python lacks something that the plugin with *digest* needs; other workers may differ."""

    def __init__(self, digest: str, message: str) -> None:
        super().__init__(message)
        self.digest = digest


def describe(error: BaseException, folder: str) -> Failed:
    """Return why an attempt ended; *folder* has its files."""
    if isinstance(error, JobError):
        return Failed.from_error(error)
    if isinstance(error, InvalidSpec):
        return Failed(
            code=error.code,
            failure_kind="user",
            retryable=False,
            message=_with_problems(error),
            cannot_load=error.digest if isinstance(error, CannotLoad) else "",
        )
    if isinstance(error, OSError) and is_full(error):
        return Failed.from_error(
            StorageFull(f"no space is left under {folder}; free some, then retry the job")
        )
    if _is_out_of_memory(error):
        return Failed.from_error(
            OutOfDeviceMemory(
                f"the job does not fit into memory ({_first_line(error)}); choose a smaller "
                "batch_size or width (gradient_accumulation keeps the samples per update)"
            )
        )
    return Failed(
        code="unexpected",
        failure_kind="user",
        retryable=False,
        message=f"{type(error).__name__}: {_first_line(error)}; the job's log has the traceback",
    )


def log_end(error: BaseException) -> None:
    """Write *error*, which ended an attempt, to its log; a requested stop takes one line."""
    if isinstance(error, JobStopped):
        print(f"stopped: {error}", file=sys.stderr)
    else:
        traceback.print_exception(type(error), error, error.__traceback__)
    sys.stderr.flush()


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _ALLOCATOR_SAYS)


def _with_problems(error: InvalidSpec) -> str:
    missing = [problem for problem in error.problems if str(problem) not in str(error)]
    return "; ".join([str(error), *map(str, missing)])


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:500] if text else "no message"
