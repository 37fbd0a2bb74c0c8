"""Delete jobs and studies, restore them, and show their disk use."""

from __future__ import annotations

from fastapi import APIRouter, Request

from api.auth import ChangerDep, ReaderDep, SubmitterDep
from api.bodies import JsonRoute
from api.costly import costly
from api.state import StateDep
from normlab.records import JobDetail, StudyRecord
from normlab.records.keeping import TrashRecord, Usage
from service.jobs import trash as jobs
from service.studies import purging, trash as whole_studies

router = APIRouter(tags=["trash"], route_class=JsonRoute)


@router.delete("/jobs/{job}")
def delete_job(job: str, caller: ChangerDep, state: StateDep) -> JobDetail:
    """
    Move an ended job into the trash. After the operator's number of days it is purged.

    A job that is a cell of a study cannot be deleted without the study.
    """
    return jobs.trash(state.database, job, by=caller.actor)


@router.post("/jobs/{job}/restore")
def restore_job(job: str, caller: ChangerDep, state: StateDep) -> JobDetail:
    """Take a job out of the trash."""
    return jobs.restore(state.database, job, by=caller.actor)


@router.delete("/studies/{study}")
def delete_study(study: str, caller: ChangerDep, state: StateDep) -> StudyRecord:
    """Move an ended study into the trash, with those of its jobs that no other study shows."""
    return whole_studies.trash(state.database, study, by=caller.actor)


@router.post("/studies/{study}/restore")
def restore_study(study: str, caller: ChangerDep, state: StateDep) -> StudyRecord:
    """Take a study out of the trash, with the jobs that went with it."""
    return whole_studies.restore(state.database, study, by=caller.actor)


@router.get("/trash")
@costly
def read_trash(request: Request, reader: ReaderDep, state: StateDep) -> TrashRecord:
    """Say how many jobs and studies of the token's owner are in the trash, and their size."""
    return purging.summary(state.reads, reader.owner, state.settings.trash_days)


@router.post("/trash:empty", status_code=202)
def empty_trash(caller: SubmitterDep, state: StateDep) -> TrashRecord:
    """Purge the trash of the token's owner, in the background; this cannot be undone."""
    return purging.empty(state.database, caller.owner, state.settings.trash_days, by=caller.actor)


@router.get("/usage")
@costly
def read_usage(request: Request, reader: ReaderDep, state: StateDep) -> Usage:
    """List how much each owner's jobs store, largest first."""
    return Usage(owners=purging.usage(state.reads))
