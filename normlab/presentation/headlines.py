"""The one metric of a job that lists and messages show, whatever its task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Tuple

from normlab.plain_text import NOT_FINITE

if TYPE_CHECKING:
    from normlab.records import JobRecord

HEADLINES = ("val/accuracy", "val/map", "val/loss")
"""A job shows the first of these that it has: not every task has an accuracy."""


def headline(job: JobRecord) -> Optional[Tuple[str, float]]:
    """Return the name and the last value of *job*'s metric to show; None before it has one."""
    for name in HEADLINES:
        found = job.last.get(name)
        if found is not None and found.value is not None:
            return name, found.value
    return None


def in_accuracys_place(job: JobRecord) -> Optional[str]:
    """Return name and value for a column of accuracies; None if *job* has one, or nothing yet."""
    shown = headline(job)
    name = shown[0] if shown else next((name for name in HEADLINES if name in job.last), None)
    if name is None or name == HEADLINES[0]:
        return None
    value = f"{shown[1]:.4g}" if shown else NOT_FINITE
    return f"{name.partition('/')[2]} {value}"
