"""The one metric of a job that lists and messages show, for any task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Tuple

from normlab.counting import measured

if TYPE_CHECKING:
    from normlab.records import JobRecord

HEADLINES = ("val/accuracy", "val/map", "val/loss")
"""A job shows the first of these that it has: not every task has an accuracy."""


def headline(job: JobRecord) -> Optional[Tuple[str, float]]:
    """Return the name and the last value of *job*'s metric to show; None before it has one."""
    found = ((name, job.last[name].number()) for name in HEADLINES if name in job.last)
    return next(found, None)


def in_accuracys_place(job: JobRecord) -> Optional[str]:
    """Return name and value for a column of accuracies; None if *job* has one, or nothing yet."""
    shown = headline(job)
    if shown is None or shown[0] == HEADLINES[0]:
        return None
    name, number = shown
    return f"{name.partition('/')[2]} {measured(name, number)}"
