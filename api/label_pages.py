"""Forms of the pages of jobs and studies: rename, note, tag, archive."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from api.auth import ChangerDep
from api.caller import Caller
from api.state import State, StateDep
from normlab.records.labels import Labels
from service.jobs import labels as of_jobs
from service.studies import changes as of_studies

router = APIRouter()


def _read_labels(
    name: Annotated[str, Form(max_length=500)] = "",
    note: Annotated[str, Form(max_length=10_000)] = "",
    tags: Annotated[str, Form(max_length=4000)] = "",
) -> Labels:
    listed = [tag.strip() for tag in tags.split(",") if tag.strip()]
    text = note.replace("\r\n", "\n").strip()
    return Labels.read({"name": name.strip() or None, "note": text or None, "tags": listed})


def _read_archived(archived: Annotated[bool, Form()]) -> Labels:
    return Labels(archived=archived)


_LabelsDep = Annotated[Labels, Depends(_read_labels)]
_ArchivedDep = Annotated[Labels, Depends(_read_archived)]


@router.post("/jobs/{job}/labels")
def label_job(job: str, caller: ChangerDep, state: StateDep, labels: _LabelsDep) -> Response:
    """Change name, note and tags of a job."""
    return _change_job(job, caller, state, labels)


@router.post("/jobs/{job}/archive")
def archive_job(job: str, caller: ChangerDep, state: StateDep, labels: _ArchivedDep) -> Response:
    """Put a job into the archive, or take it out."""
    return _change_job(job, caller, state, labels)


@router.post("/studies/{study}/labels")
def label_study(study: str, caller: ChangerDep, state: StateDep, labels: _LabelsDep) -> Response:
    """Change name, note and tags of a study."""
    return _change_study(study, caller, state, labels)


@router.post("/studies/{study}/archive")
def archive_study(
    study: str, caller: ChangerDep, state: StateDep, labels: _ArchivedDep
) -> Response:
    """Put a study into the archive with its jobs, or take it out."""
    return _change_study(study, caller, state, labels)


def _change_job(job: str, caller: Caller, state: State, labels: Labels) -> Response:
    of_jobs.change(state.database, job, labels, by=caller.actor)
    return RedirectResponse(f"/jobs/{job}", status_code=303)


def _change_study(study: str, caller: Caller, state: State, labels: Labels) -> Response:
    of_studies.label(state.database, study, labels, by=caller.actor)
    return RedirectResponse(f"/studies/{study}", status_code=303)
