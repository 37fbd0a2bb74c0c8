"""Forms of the pages of jobs and studies: rename, note, tag, archive."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from api.auth import ChangerDep
from api.state import StateDep
from normlab.records.labels import Labels
from service.jobs import labels as of_jobs
from service.studies import labels as of_studies

router = APIRouter()

_Name = Annotated[str, Form(max_length=500)]
_Note = Annotated[str, Form(max_length=10_000)]
_Tags = Annotated[str, Form(max_length=4000)]


@router.post("/jobs/{job}/labels")
def label_job(
    job: str,
    caller: ChangerDep,
    state: StateDep,
    name: _Name = "",
    note: _Note = "",
    tags: _Tags = "",
) -> Response:
    """Change name, note and tags of a job."""
    of_jobs.change(state.database, job, _asked(name, note, tags), by=caller.actor)
    return RedirectResponse(f"/jobs/{job}", status_code=303)


@router.post("/jobs/{job}/archive")
def archive_job(
    job: str, caller: ChangerDep, state: StateDep, archived: Annotated[bool, Form()]
) -> Response:
    """Put a job into the archive, or take it out."""
    of_jobs.change(state.database, job, Labels(archived=archived), by=caller.actor)
    return RedirectResponse(f"/jobs/{job}", status_code=303)


@router.post("/studies/{study}/labels")
def label_study(
    study: str, caller: ChangerDep, state: StateDep, name: _Name = "", note: _Note = "",
    tags: _Tags = "",
) -> Response:  # fmt: skip
    """Change name, note and tags of a study."""
    of_studies.change(state.database, study, _asked(name, note, tags), by=caller.actor)
    return RedirectResponse(f"/studies/{study}", status_code=303)


@router.post("/studies/{study}/archive")
def archive_study(
    study: str, caller: ChangerDep, state: StateDep, archived: Annotated[bool, Form()]
) -> Response:
    """Put a study into the archive with its jobs, or take it out."""
    of_studies.change(state.database, study, Labels(archived=archived), by=caller.actor)
    return RedirectResponse(f"/studies/{study}", status_code=303)


def _asked(name: str, note: str, tags: str) -> Labels:
    listed = [tag.strip() for tag in tags.split(",") if tag.strip()]
    text = note.replace("\r\n", "\n").strip()
    return Labels.read({"name": name.strip() or None, "note": text or None, "tags": listed})
