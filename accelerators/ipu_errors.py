"""Translate PopTorch's errors to ours, which say whether a retry may help."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator

from normlab.errors import (
    DeviceError,
    DeviceUnavailable,
    JobError,
    OutOfDeviceMemory,
    UnsupportedModel,
)

_RESETS = {
    "IPU_RESET": "the IPU needs a reset; a fresh process does it",
    "LINK_RESET": "the links between IPUs need a reset by the operator",
    "PARTITION_RESET": "the partition needs a reset by the operator",
    "FULL_RESET": "the machine needs a power cycle",
}


@contextmanager
def translated(library: Any) -> Iterator[None]:
    """Raise *library*'s exceptions as job errors."""
    try:
        yield
    except library.Error as e:
        raise as_job_error(library, e) from e


def as_job_error(library: Any, error: Exception) -> JobError:
    """Return the job error for *error*, which says whether to try again."""
    message = str(error) or str(getattr(error, "message", ""))  # set on the class: copy now
    if isinstance(error, library.UnrecoverableError):
        return DeviceError(f"the IPU system has to be taken out of operation: {message}")
    if isinstance(error, library.RecoverableError):
        action = str(getattr(error, "recovery_action", ""))
        return DeviceError(f"{_RESETS.get(action, 'the IPU failed')}: {message}")
    if "Failed to acquire" in message:
        return DeviceUnavailable(f"the IPUs are taken, or the partition is too small: {message}")
    if "out of memory" in message.lower():
        return OutOfDeviceMemory(
            f"the model does not fit into an IPU's memory; lower batch_size or the width: {message}"
        )
    return UnsupportedModel(f"PopTorch cannot compile or run this model: {message}")
