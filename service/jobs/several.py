"""Change several jobs, each by itself: if one refuses, the others are still changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from normlab.errors import Conflict, Forbidden, NotFound
from normlab.records.tables import Changed

_REFUSALS = (Conflict, Forbidden, NotFound)
"""Errors that concern one job; a database that does not answer, for example, concerns all."""


def change(jobs: Sequence[str], each: Callable[[str], Any]) -> Changed:
    """Do *each* for every one of *jobs*; return which were changed, and why others were not."""
    done: list[str] = []
    refused: dict[str, str] = {}
    for job in dict.fromkeys(jobs):
        try:
            each(job)
        except _REFUSALS as e:
            refused[job] = str(e)
        else:
            done.append(job)
    return Changed(done=done, refused=refused)
