"""Runs that a comparison names but that cannot be found: deleted, out of sight, or never there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from normlab.errors import NotFound
from normlab.records.comparing import CompareQuestion
from service.jobs.reading import unknown
from service.store.identity import parse_id


def stored_form(job: str) -> str:
    """Write the id *job* as the database does; a text that is no id stays as it is."""
    with suppress(NotFound):
        return str(parse_id(job))
    return job


def possible(jobs: Sequence[str]) -> list[str]:
    """Return those of *jobs* that can be ids."""
    return [job for job in jobs if _can_be_id(job)]


def _can_be_id(job: str) -> bool:
    with suppress(NotFound):
        parse_id(job)
        return True
    return False


def refuse(question: CompareQuestion, jobs: Sequence[str], gone: Sequence[str]) -> None:
    """Raise NotFound if more of *jobs* are gone than *question* allows to leave out."""
    if gone and not question.leave_out_gone:
        raise unknown(gone[0])
    if len(gone) == len(jobs):
        one = len(gone) == 1
        named = f"the run {gone[0]!r} was not found" if one else "none of these runs was found"
        raise NotFound(
            f"{named}: deleted, or in a project that you cannot see; choose others in the table "
            "of runs"
        )
